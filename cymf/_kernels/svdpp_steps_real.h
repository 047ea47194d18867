/* Body of svdpp_steps.h for one type REAL; see there. Deliberately without an include guard. */

#define LANES ((int)(CYMF_VECTOR_BYTES / sizeof(REAL)))
#define VEC NAME(cymf_vec)

/* What a rating does to its user's row v = p + s, whose two parts move alike, and asks of its item's row q:
 *   change = step v,   v <- shrink v + 2 step q */
CYMF_INLINE void NAME(svdpp_step)(REAL *v, REAL *change, const REAL *q, REAL step, REAL shrink, ptrdiff_t n) {
  const VEC vs = NAME(splat)(step), twice = NAME(splat)(2 * step), vk = NAME(splat)(shrink);
  for (ptrdiff_t f = 0; f < n; f += LANES) {
    const VEC a = NAME(load)(v + f);
    NAME(store)(change + f, NAME(mul)(vs, a));
    NAME(store)(v + f, NAME(fma)(twice, NAME(load)(q + f), NAME(mul)(vk, a)));
  }
}

/* y <- shrink y + x */
CYMF_INLINE void NAME(shrink_and_add)(REAL *y, REAL shrink, const REAL *x, ptrdiff_t n) {
  const VEC vk = NAME(splat)(shrink);
  for (ptrdiff_t f = 0; f < n; f += LANES)
    NAME(store)(y + f, NAME(fma)(vk, NAME(load)(y + f), NAME(load)(x + f)));
}

#undef LANES
#undef VEC
