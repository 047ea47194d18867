/* Body of fm.h for one type REAL; see there. Deliberately without an include guard. */

#if CYMF_VECTOR_EXTENSIONS
typedef REAL NAME(cymf_pair) __attribute__((vector_size(2 * sizeof(REAL))));
typedef REAL NAME(cymf_unaligned_pair)
    __attribute__((vector_size(2 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
#define PAIR NAME(cymf_pair)
#define LOAD(address) ((PAIR) * (const NAME(cymf_unaligned_pair) *)(address))
#define STORE(address, pair) (*(NAME(cymf_unaligned_pair) *)(address) = (pair))
#define BOTH(scalar) ((PAIR){scalar, scalar})
#endif

typedef struct {
#if CYMF_VECTOR_EXTENSIONS
  PAIR right, square;
#else
  REAL right[2], square[2];
#endif
} NAME(fm_moments);

CYMF_INLINE void NAME(fm_no_moments)(NAME(fm_moments) *m) { memset(m, 0, sizeof *m); }

/* sum c h r (first) and sum c h^2 (second) of one entry of a column are added to m, each in two parts */
CYMF_INLINE void NAME(fm_add_moments)(NAME(fm_moments) *m, const REAL *s, REAL x, REAL old) {
  const REAL a = s[CYMF_FM_Q] - old * x;
#if CYMF_VECTOR_EXTENSIONS
  const PAIR weight = (PAIR){a, 1} * BOTH(x);
  const PAIR with = LOAD(s + CYMF_FM_O) + BOTH(a) * LOAD(s + CYMF_FM_ONE);
  m->right += weight * LOAD(s + CYMF_FM_R);
  m->square += weight * BOTH(x) * with;
#else
  m->right[0] += x * a * s[CYMF_FM_R];
  m->right[1] += x * s[CYMF_FM_R + 1];
  m->square[0] += x * x * a * (s[CYMF_FM_O] + a * s[CYMF_FM_ONE]);
  m->square[1] += x * x * (s[CYMF_FM_O + 1] + a * s[CYMF_FM_ONE + 1]);
#endif
}

CYMF_INLINE double NAME(fm_right)(const NAME(fm_moments) *m) { return (double)m->right[0] + m->right[1]; }
CYMF_INLINE double NAME(fm_square)(const NAME(fm_moments) *m) { return (double)m->square[0] + m->square[1]; }

/* what theta += delta does to one entry's row */
CYMF_INLINE void NAME(fm_move)(REAL *s, REAL x, REAL old, REAL delta) {
  const REAL a = s[CYMF_FM_Q] - old * x, step = x * delta;
#if CYMF_VECTOR_EXTENSIONS
  const PAIR with = LOAD(s + CYMF_FM_O) + BOTH(a) * LOAD(s + CYMF_FM_ONE);
  STORE(s + CYMF_FM_R, LOAD(s + CYMF_FM_R) - BOTH(step) * with);
  STORE(s + CYMF_FM_Q, (LOAD(s + CYMF_FM_Q) + BOTH(step) * (PAIR){1, a}));
#else
  s[CYMF_FM_R] -= step * (s[CYMF_FM_O] + a * s[CYMF_FM_ONE]);
  s[CYMF_FM_R + 1] -= step * (s[CYMF_FM_O + 1] + a * s[CYMF_FM_ONE + 1]);
  s[CYMF_FM_Q] += step;
  s[CYMF_FM_Q + 1] += step * a;
#endif
}

#if CYMF_VECTOR_EXTENSIONS
#undef PAIR
#undef LOAD
#undef STORE
#undef BOTH
#endif
