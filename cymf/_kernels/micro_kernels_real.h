/* Body of micro_kernels.h for one type REAL; see there. Deliberately without an include guard. */

#define LANES ((int)(CYMF_VECTOR_BYTES / sizeof(REAL)))
#define VEC NAME(cymf_vec)

/* ---- vectors ------------------------------------------------------------------------------- */

#if CYMF_VECTOR_EXTENSIONS
typedef REAL VEC __attribute__((vector_size(CYMF_VECTOR_BYTES)));
typedef REAL NAME(cymf_unaligned_vec)
    __attribute__((vector_size(CYMF_VECTOR_BYTES), aligned(sizeof(REAL)), may_alias));

CYMF_INLINE VEC NAME(load)(const REAL *p) { return *(const NAME(cymf_unaligned_vec) *)p; }
CYMF_INLINE void NAME(store)(REAL *p, VEC a) { *(NAME(cymf_unaligned_vec) *)p = a; }
CYMF_INLINE VEC NAME(splat)(REAL a) { return a - (VEC){0}; }
CYMF_INLINE VEC NAME(mul)(VEC a, VEC b) { return a * b; }
CYMF_INLINE VEC NAME(add)(VEC a, VEC b) { return a + b; }
CYMF_INLINE VEC NAME(fma)(VEC a, VEC b, VEC c) { return a * b + c; }
CYMF_INLINE VEC NAME(fnma)(VEC a, VEC b, VEC c) { return c - a * b; }
#else
typedef struct { REAL lane[CYMF_VECTOR_BYTES / sizeof(REAL)]; } VEC;

CYMF_INLINE VEC NAME(load)(const REAL *p) { VEC r; memcpy(&r, p, sizeof r); return r; }
CYMF_INLINE void NAME(store)(REAL *p, VEC a) { memcpy(p, &a, sizeof a); }
CYMF_INLINE VEC NAME(splat)(REAL a) { VEC r; for (int l = 0; l < LANES; ++l) r.lane[l] = a; return r; }
CYMF_INLINE VEC NAME(mul)(VEC a, VEC b) { for (int l = 0; l < LANES; ++l) a.lane[l] *= b.lane[l]; return a; }
CYMF_INLINE VEC NAME(add)(VEC a, VEC b) { for (int l = 0; l < LANES; ++l) a.lane[l] += b.lane[l]; return a; }
CYMF_INLINE VEC NAME(fma)(VEC a, VEC b, VEC c) { for (int l = 0; l < LANES; ++l) c.lane[l] += a.lane[l] * b.lane[l]; return c; }
CYMF_INLINE VEC NAME(fnma)(VEC a, VEC b, VEC c) { for (int l = 0; l < LANES; ++l) c.lane[l] -= a.lane[l] * b.lane[l]; return c; }
#endif

/* Sum of the lanes, the upper half added to the lower until one is left: a fixed order, whatever the compiler. */
#if CYMF_HAVE_SHUFFLE
typedef REAL NAME(cymf_vec16) __attribute__((vector_size(16)));

CYMF_INLINE REAL NAME(sum_lanes)(VEC a) {
#if CYMF_VECTOR_BYTES == 64
  REAL __attribute__((vector_size(32))) b = UPPER_AND_LOWER_64(a);
  NAME(cymf_vec16) c = UPPER_AND_LOWER_32(b);
#elif CYMF_VECTOR_BYTES == 32
  NAME(cymf_vec16) c = UPPER_AND_LOWER_32(a);
#else
  NAME(cymf_vec16) c = a;
#endif
  return sizeof(REAL) == 4 ? (c[0] + c[sizeof(c) / sizeof(REAL) - 2]) + (c[1] + c[sizeof(c) / sizeof(REAL) - 1])
                           : c[0] + c[1];
}
#else
CYMF_INLINE REAL NAME(sum_lanes)(VEC a) {
  REAL lane[CYMF_VECTOR_BYTES / sizeof(REAL)];
  NAME(store)(lane, a);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lane[l] += lane[l + half];
  return lane[0];
}
#endif

/* ---- products of rows; n is a multiple of LANES, rows are padded by zeros -------------------- */

/* x . y, four partial sums */
CYMF_INLINE REAL NAME(dot)(const REAL *x, const REAL *y, ptrdiff_t n) {
  VEC s0 = NAME(splat)(0), s1 = s0, s2 = s0, s3 = s0;
  ptrdiff_t f = 0;
  for (; f + 4 * LANES <= n; f += 4 * LANES) {
    s0 = NAME(fma)(NAME(load)(x + f), NAME(load)(y + f), s0);
    s1 = NAME(fma)(NAME(load)(x + f + LANES), NAME(load)(y + f + LANES), s1);
    s2 = NAME(fma)(NAME(load)(x + f + 2 * LANES), NAME(load)(y + f + 2 * LANES), s2);
    s3 = NAME(fma)(NAME(load)(x + f + 3 * LANES), NAME(load)(y + f + 3 * LANES), s3);
  }
  for (; f < n; f += LANES) s0 = NAME(fma)(NAME(load)(x + f), NAME(load)(y + f), s0);
  return NAME(sum_lanes)(NAME(add)(NAME(add)(s0, s1), NAME(add)(s2, s3)));
}

/* sums[t] = x_t . y, x_t = X[t], t < 4: y is loaded once for four rows, two partial sums each */
CYMF_INLINE void NAME(dot4)(REAL *sums, const REAL **X, const REAL *y, ptrdiff_t n) {
  const REAL *const x0 = X[0], *const x1 = X[1], *const x2 = X[2], *const x3 = X[3];
  VEC even[4], odd[4];
  CYMF_UNROLL
  for (int t = 0; t < 4; ++t) even[t] = odd[t] = NAME(splat)(0);
  ptrdiff_t f = 0;
  for (; f + 2 * LANES <= n; f += 2 * LANES) {
    const VEC y0 = NAME(load)(y + f), y1 = NAME(load)(y + f + LANES);
    even[0] = NAME(fma)(NAME(load)(x0 + f), y0, even[0]);
    even[1] = NAME(fma)(NAME(load)(x1 + f), y0, even[1]);
    even[2] = NAME(fma)(NAME(load)(x2 + f), y0, even[2]);
    even[3] = NAME(fma)(NAME(load)(x3 + f), y0, even[3]);
    odd[0] = NAME(fma)(NAME(load)(x0 + f + LANES), y1, odd[0]);
    odd[1] = NAME(fma)(NAME(load)(x1 + f + LANES), y1, odd[1]);
    odd[2] = NAME(fma)(NAME(load)(x2 + f + LANES), y1, odd[2]);
    odd[3] = NAME(fma)(NAME(load)(x3 + f + LANES), y1, odd[3]);
  }
  if (f < n) {
    const VEC y0 = NAME(load)(y + f);
    even[0] = NAME(fma)(NAME(load)(x0 + f), y0, even[0]);
    even[1] = NAME(fma)(NAME(load)(x1 + f), y0, even[1]);
    even[2] = NAME(fma)(NAME(load)(x2 + f), y0, even[2]);
    even[3] = NAME(fma)(NAME(load)(x3 + f), y0, even[3]);
  }
  CYMF_UNROLL
  for (int t = 0; t < 4; ++t) sums[t] = NAME(sum_lanes)(NAME(add)(even[t], odd[t]));
}

/* y += a x */
CYMF_INLINE void NAME(axpy)(REAL *y, REAL a, const REAL *x, ptrdiff_t n) {
  const VEC va = NAME(splat)(a);
  for (ptrdiff_t f = 0; f < n; f += LANES)
    NAME(store)(y + f, NAME(fma)(va, NAME(load)(x + f), NAME(load)(y + f)));
}

/* y += a0 x0 + a1 x1 + a2 x2 + a3 x3: four ratings for one pass over y */
CYMF_INLINE void NAME(axpy4)(REAL *y, const REAL *a, const REAL *x0, const REAL *x1, const REAL *x2,
                             const REAL *x3, ptrdiff_t n) {
  const VEC a0 = NAME(splat)(a[0]), a1 = NAME(splat)(a[1]), a2 = NAME(splat)(a[2]), a3 = NAME(splat)(a[3]);
  for (ptrdiff_t f = 0; f < n; f += LANES) {
    VEC t = NAME(fma)(a0, NAME(load)(x0 + f), NAME(load)(y + f));
    t = NAME(fma)(a1, NAME(load)(x1 + f), t);
    t = NAME(fma)(a2, NAME(load)(x2 + f), t);
    NAME(store)(y + f, NAME(fma)(a3, NAME(load)(x3 + f), t));
  }
}

/* y = a x */
CYMF_INLINE void NAME(scaled_copy)(REAL *y, REAL a, const REAL *x, ptrdiff_t n) {
  const VEC va = NAME(splat)(a);
  for (ptrdiff_t f = 0; f < n; f += LANES) NAME(store)(y + f, NAME(mul)(va, NAME(load)(x + f)));
}

/* ---- one SGD step: both rows from their old values -------------------------------------------
 *   w <- w - rate (share_w w - g h)          g = c e, shrink = 1 - rate * share, step = rate * g
 *   h <- h - rate (share_h h - g w_old)      (share = lambda n^(nu - 1), the rating's part of the penalty)
 */
CYMF_INLINE void NAME(sgd_step)(REAL *w, REAL *h, REAL step, REAL shrink_w, REAL shrink_h, ptrdiff_t n) {
  const VEC vs = NAME(splat)(step), vw = NAME(splat)(shrink_w), vh = NAME(splat)(shrink_h);
  for (ptrdiff_t f = 0; f < n; f += LANES) {
    const VEC a = NAME(load)(w + f), b = NAME(load)(h + f);
    NAME(store)(w + f, NAME(fma)(vs, b, NAME(mul)(vw, a)));
    NAME(store)(h + f, NAME(fma)(vs, a, NAME(mul)(vh, b)));
  }
}

/* ---- rank-k update of a tile ----------------------------------------------------------------
 *   G[r, c] (=, +=, -=) sum_s A[s, r] B[s, c]      r < rows, c < vectors * LANES
 * The tile lives in registers while s runs; rows and vectors are constants after inlining.
 * mode: 0 assigns, 1 adds, -1 subtracts. Adding sums the samples from zero first, so that rounding grows with the
 * batch and the number of batches, not with their product. Cost: rows * vectors FMAs a sample for rows + vectors loads.
 */
CYMF_INLINE void NAME(tile)(const int rows, const int vectors, const int mode, REAL *G, ptrdiff_t ldg,
                            const REAL *A, ptrdiff_t lda, const REAL *B, ptrdiff_t ldb, ptrdiff_t samples) {
  VEC acc[2 * CYMF_TILE_ROWS][CYMF_TILE_VECTORS];
  CYMF_UNROLL
  for (int r = 0; r < rows; ++r) {
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v)
      acc[r][v] = mode < 0 ? NAME(load)(G + r * ldg + v * LANES) : NAME(splat)(0);
  }
  for (ptrdiff_t s = 0; s < samples; ++s) {
    VEC b[CYMF_TILE_VECTORS];
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v) b[v] = NAME(load)(B + v * LANES);
    CYMF_UNROLL
    for (int r = 0; r < rows; ++r) {
      const VEC a = NAME(splat)(A[r]);
      CYMF_UNROLL
      for (int v = 0; v < vectors; ++v)
        acc[r][v] = mode < 0 ? NAME(fnma)(a, b[v], acc[r][v]) : NAME(fma)(a, b[v], acc[r][v]);
    }
    A += lda;
    B += ldb;
  }
  CYMF_UNROLL
  for (int r = 0; r < rows; ++r) {
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v) {
      REAL *const g = G + r * ldg + v * LANES;
      NAME(store)(g, mode == 1 ? NAME(add)(NAME(load)(g), acc[r][v]) : acc[r][v]);
    }
  }
}

/* A strip of `rows` rows and n columns, cut into tiles of three vectors, and of two where three would leave one. */
CYMF_INLINE void NAME(strip)(const int rows, const int mode, REAL *G, ptrdiff_t ldg, const REAL *A, ptrdiff_t lda,
                             const REAL *B, ptrdiff_t ldb, ptrdiff_t n, ptrdiff_t samples) {
  ptrdiff_t left = n / LANES;
  while (left > 0) {
    if (left == 3 || left > 4) {
      NAME(tile)(rows, 3, mode, G, ldg, A, lda, B, ldb, samples);
      G += 3 * LANES; B += 3 * LANES; left -= 3;
    } else if (left >= 2) {
      NAME(tile)(rows, 2, mode, G, ldg, A, lda, B, ldb, samples);
      G += 2 * LANES; B += 2 * LANES; left -= 2;
    } else {
      NAME(tile)(rows, 1, mode, G, ldg, A, lda, B, ldb, samples);
      left -= 1;
    }
  }
}

/* Upper triangle of G (=, +=) X' X for X (samples, n), in strips of four rows, each from its diagonal's vector on; where
 * one vector is left, two strips make a tile, as four accumulators do not hide the latency of an FMA.
 * n_rows is a multiple of four, n the padded width; entries left of the diagonal in the first vector are written too. */
CYMF_FUNCTION void NAME(rank_k_update)(const int add, REAL *G, const REAL *X, ptrdiff_t n_rows, ptrdiff_t n,
                                ptrdiff_t samples) {
  for (ptrdiff_t a = 0; a < n_rows; a += CYMF_TILE_ROWS) {
    const ptrdiff_t b = a / LANES * LANES;
    if (n - b == LANES && a + CYMF_TILE_ROWS < n_rows) {
      if (add) NAME(tile)(2 * CYMF_TILE_ROWS, 1, 1, G + a * n + b, n, X + a, n, X + b, n, samples);
      else NAME(tile)(2 * CYMF_TILE_ROWS, 1, 0, G + a * n + b, n, X + a, n, X + b, n, samples);
      a += CYMF_TILE_ROWS;
      continue;
    }
    if (add) NAME(strip)(CYMF_TILE_ROWS, 1, G + a * n + b, n, X + a, n, X + b, n, n - b, samples);
    else NAME(strip)(CYMF_TILE_ROWS, 0, G + a * n + b, n, X + a, n, X + b, n, n - b, samples);
  }
}

/* ---- the same from rows where they are, with the right-hand sides -------------------------------
 *   G (=, +=) sum_s x_s x_s' (upper triangle)      R[t] (=, +=) sum_s T[s, t] x_s      x_s = X[s], t < n_right <= 2
 * The right-hand sides are two more rows of the first strip's tiles, and rows are read by their addresses: nothing is
 * copied, and no loop is short of accumulators to hide the latency of an FMA. While a batch is summed, the next one's
 * rows are asked for, some in each strip.
 */
CYMF_INLINE void NAME(gathered_tile)(const int rows, const int n_right, const int vectors, const int add, REAL *G,
                                     REAL *R, ptrdiff_t n, const REAL *const *X, ptrdiff_t a, ptrdiff_t b,
                                     const REAL *T, ptrdiff_t samples) {
  VEC acc[2 * CYMF_TILE_ROWS][CYMF_TILE_VECTORS];
  CYMF_UNROLL
  for (int r = 0; r < rows + n_right; ++r) {
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v) acc[r][v] = NAME(splat)(0);
  }
  for (ptrdiff_t s = 0; s < samples; ++s) {
    const REAL *const x = X[s];
    VEC columns[CYMF_TILE_VECTORS];
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v) columns[v] = NAME(load)(x + b + v * LANES);
    CYMF_UNROLL
    for (int r = 0; r < rows + n_right; ++r) {
      const VEC factor = NAME(splat)(r < rows ? x[a + r] : T[2 * s + r - rows]);
      CYMF_UNROLL
      for (int v = 0; v < vectors; ++v) acc[r][v] = NAME(fma)(factor, columns[v], acc[r][v]);
    }
  }
  CYMF_UNROLL
  for (int r = 0; r < rows + n_right; ++r) {
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v) {
      REAL *const g = (r < rows ? G + (a + r) * n : R + (r - rows) * n) + b + v * LANES;
      NAME(store)(g, add ? NAME(add)(NAME(load)(g), acc[r][v]) : acc[r][v]);
    }
  }
}

CYMF_INLINE void NAME(gathered_update)(const int add, const int n_right, REAL *G, REAL *R, ptrdiff_t n_rows,
                                       ptrdiff_t n, const REAL *const *X, const REAL *T, ptrdiff_t samples,
                                       const REAL *const *next, ptrdiff_t n_next) {
  const ptrdiff_t share = (n_next * CYMF_TILE_ROWS + n_rows - 1) / n_rows;
  ptrdiff_t asked = 0, b = 0;
  for (ptrdiff_t a = 0; a < n_rows; a += CYMF_TILE_ROWS) {
    const ptrdiff_t ask = asked + share < n_next ? asked + share : n_next;
    for (; asked < ask; ++asked) cymf_prefetch_row(next[asked], n * (ptrdiff_t)sizeof(REAL));
    if (a == 0) {
      for (; b + 2 * LANES <= n; b += 2 * LANES)
        NAME(gathered_tile)(CYMF_TILE_ROWS, n_right, 2, add, G, R, n, X, 0, b, T, samples);
      if (b < n) NAME(gathered_tile)(CYMF_TILE_ROWS, n_right, 1, add, G, R, n, X, 0, b, T, samples);
      continue;
    }
    b = a / LANES * LANES;
    if (n - b == LANES && a + CYMF_TILE_ROWS < n_rows) {
      NAME(gathered_tile)(2 * CYMF_TILE_ROWS, 0, 1, add, G, R, n, X, a, b, T, samples);
      a += CYMF_TILE_ROWS;
      continue;
    }
    for (ptrdiff_t left = (n - b) / LANES; left > 0;) {
      if (left == 3 || left > 4) {
        NAME(gathered_tile)(CYMF_TILE_ROWS, 0, 3, add, G, R, n, X, a, b, T, samples);
        b += 3 * LANES; left -= 3;
      } else if (left >= 2) {
        NAME(gathered_tile)(CYMF_TILE_ROWS, 0, 2, add, G, R, n, X, a, b, T, samples);
        b += 2 * LANES; left -= 2;
      } else {
        NAME(gathered_tile)(CYMF_TILE_ROWS, 0, 1, add, G, R, n, X, a, b, T, samples);
        left = 0;
      }
    }
  }
}

/* y (=, +=) sum_s a_s x_s, x_s = X[s], eight partial sums a block of columns */
CYMF_INLINE void NAME(combination)(const int add, REAL *y, const REAL *a, const REAL **X, ptrdiff_t n, ptrdiff_t samples) {
  ptrdiff_t f = 0;
  for (; f + 4 * LANES <= n; f += 4 * LANES) {
    VEC even[4], odd[4];
    CYMF_UNROLL
    for (int v = 0; v < 4; ++v) even[v] = odd[v] = NAME(splat)(0);
    ptrdiff_t s = 0;
    for (; s + 2 <= samples; s += 2) {
      CYMF_UNROLL
      for (int v = 0; v < 4; ++v) {
        even[v] = NAME(fma)(NAME(splat)(a[s]), NAME(load)(X[s] + f + v * LANES), even[v]);
        odd[v] = NAME(fma)(NAME(splat)(a[s + 1]), NAME(load)(X[s + 1] + f + v * LANES), odd[v]);
      }
    }
    CYMF_UNROLL
    for (int v = 0; v < 4; ++v) {
      if (s < samples) even[v] = NAME(fma)(NAME(splat)(a[s]), NAME(load)(X[s] + f + v * LANES), even[v]);
      even[v] = NAME(add)(even[v], odd[v]);
      NAME(store)(y + f + v * LANES, add ? NAME(add)(NAME(load)(y + f + v * LANES), even[v]) : even[v]);
    }
  }
  for (; f < n; f += LANES) {
    VEC even = NAME(splat)(0), odd = even;
    ptrdiff_t s = 0;
    for (; s + 2 <= samples; s += 2) {
      even = NAME(fma)(NAME(splat)(a[s]), NAME(load)(X[s] + f), even);
      odd = NAME(fma)(NAME(splat)(a[s + 1]), NAME(load)(X[s + 1] + f), odd);
    }
    if (s < samples) even = NAME(fma)(NAME(splat)(a[s]), NAME(load)(X[s] + f), even);
    even = NAME(add)(even, odd);
    NAME(store)(y + f, add ? NAME(add)(NAME(load)(y + f), even) : even);
  }
}

/* next: the n_next rows that will be read soon, or NULL and 0 */
CYMF_FUNCTION void NAME(rank_k_gathered)(const int add, const int n_right, REAL *G, REAL *R, ptrdiff_t n_rows, ptrdiff_t n,
                                  const REAL **X, const REAL *T, ptrdiff_t samples, const REAL **next,
                                  ptrdiff_t n_next) {
  if (n_right == 2) {
    if (add) NAME(gathered_update)(1, 2, G, R, n_rows, n, X, T, samples, next, n_next);
    else NAME(gathered_update)(0, 2, G, R, n_rows, n, X, T, samples, next, n_next);
  } else {
    if (add) NAME(gathered_update)(1, 1, G, R, n_rows, n, X, T, samples, next, n_next);
    else NAME(gathered_update)(0, 1, G, R, n_rows, n, X, T, samples, next, n_next);
  }
}

/* T[f, r] = scale[r] * row_r[f] for four rows r: rows become columns. n is a multiple of four, T has stride ldt. */
CYMF_INLINE void NAME(scaled_transpose)(REAL *T, ptrdiff_t ldt, const REAL *const *row, const REAL *scale, ptrdiff_t n) {
#if CYMF_HAVE_SHUFFLE
  typedef REAL four __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
  for (ptrdiff_t f = 0; f < n; f += 4) {
    const four a = *(const four *)(row[0] + f) * scale[0], b = *(const four *)(row[1] + f) * scale[1];
    const four c = *(const four *)(row[2] + f) * scale[2], d = *(const four *)(row[3] + f) * scale[3];
    const four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    *(four *)(T + f * ldt) = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(four *)(T + (f + 1) * ldt) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(four *)(T + (f + 2) * ldt) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(four *)(T + (f + 3) * ldt) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
  }
#else
  for (ptrdiff_t f = 0; f < n; ++f)
    for (int r = 0; r < 4; ++r) T[f * ldt + r] = scale[r] * row[r][f];
#endif
}

/* R[t, :] (=, +=) sum_s T[s, t] X[s, :] for one or two right-hand sides, T (samples, 2), X (samples, n) */
CYMF_FUNCTION void NAME(rank_k_right)(const int add, const int n_right, REAL *R, const REAL *T, const REAL *X, ptrdiff_t n,
                               ptrdiff_t samples) {
  if (n_right == 2) {
    if (add) NAME(strip)(2, 1, R, n, T, 2, X, n, n, samples);
    else NAME(strip)(2, 0, R, n, T, 2, X, n, n, samples);
  } else {
    if (add) NAME(strip)(1, 1, R, n, T, 2, X, n, n, samples);
    else NAME(strip)(1, 0, R, n, T, 2, X, n, n, samples);
  }
}

/* ---- Cholesky, G = U'U, with right-hand sides carried along ----------------------------------
 * Left-looking over strips of four rows (Golub and Van Loan, Matrix Computations, 4.2). The 4 x 4 triangle of a strip is
 * a chain of divisions, so its reciprocal pivots are found first (as in L D L', square roots afterwards); behind it in the
 * instruction stream, independent of it, the next strip takes all rows above; then the strip is divided out, and the
 * next one takes its four rows. R holds n_right rows; on return R[t] = U'^-1 R[t]. inverse_diagonal[p] = 1 / U[p, p].
 * G is (n_rows, n): n_rows a multiple of four, n the padded width; rows past the system are zero off the diagonal and
 * one on it. No scalar is stored where a vector is loaded soon after: such loads wait for the store to retire.
 * Returns -1, or the first row whose pivot is not above tolerance * (its diagonal entry before elimination).
 */

/* one in lanes first, first + 1, ..., zero before */
CYMF_INLINE VEC NAME(lanes_from)(ptrdiff_t first) {
  static const REAL steps[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  return NAME(load)(steps + 16 - (first < 0 ? 0 : first > LANES ? LANES : first));
}

/* Column vector c of the strip at row a: rows freed of those above in the triangle, scaled, taken off the right-hand
 * sides. In vectors that hold the triangle (on_diagonal), what is left of the diagonal becomes zero, and the right-hand
 * sides get their solved entries. */
CYMF_INLINE void NAME(divide_out)(const int on_diagonal, const int n_right, REAL *strip, REAL *R, ptrdiff_t n, ptrdiff_t a,
                                  ptrdiff_t c, REAL (*const share)[CYMF_TILE_ROWS], const REAL *inverse,
                                  REAL (*const right)[CYMF_TILE_ROWS]) {
  VEC row[CYMF_TILE_ROWS];
  CYMF_UNROLL
  for (int p = 0; p < CYMF_TILE_ROWS; ++p) {
    row[p] = NAME(load)(strip + p * n + c);
    CYMF_UNROLL
    for (int m = 0; m < p; ++m) row[p] = NAME(fnma)(NAME(splat)(share[m][p]), row[m], row[p]);
  }
  CYMF_UNROLL
  for (int p = 0; p < CYMF_TILE_ROWS; ++p) {
    row[p] = NAME(mul)(NAME(splat)(inverse[p]), row[p]);
    if (on_diagonal) row[p] = NAME(mul)(NAME(lanes_from)(a + p - c), row[p]);
    NAME(store)(strip + p * n + c, row[p]);
  }
  CYMF_UNROLL
  for (int t = 0; t < n_right; ++t) {
    VEC s = NAME(load)(R + t * n + c);
    CYMF_UNROLL
    for (int p = 0; p < CYMF_TILE_ROWS; ++p) s = NAME(fnma)(NAME(splat)(right[t][p]), row[p], s);
    if (on_diagonal) {
      s = NAME(fnma)(NAME(lanes_from)(a - c), s, NAME(fma)(NAME(lanes_from)(a + CYMF_TILE_ROWS - c), s, s));
      CYMF_UNROLL
      for (int p = 0; p < CYMF_TILE_ROWS; ++p) {
        const VEC y = NAME(splat)(right[t][p]);
        s = NAME(fnma)(NAME(lanes_from)(a + p + 1 - c), y, NAME(fma)(NAME(lanes_from)(a + p - c), y, s));
      }
    }
    NAME(store)(R + t * n + c, s);
  }
}

CYMF_INLINE ptrdiff_t NAME(cholesky_with)(const int n_right, REAL *G, REAL *R, ptrdiff_t n_rows, ptrdiff_t n,
                                          REAL *inverse_diagonal, REAL tolerance) {
  REAL least[CYMF_TILE_ROWS], least_of_next[CYMF_TILE_ROWS] = {0, 0, 0, 0};
  for (int p = 0; p < CYMF_TILE_ROWS; ++p) least[p] = tolerance * G[p * n + p];
  for (ptrdiff_t a = 0; a < n_rows; a += CYMF_TILE_ROWS) {
    const ptrdiff_t start = a / LANES * LANES, next = a + CYMF_TILE_ROWS, next_start = next / LANES * LANES;
    REAL *const strip = G + a * n;
    REAL u[CYMF_TILE_ROWS][CYMF_TILE_ROWS], share[CYMF_TILE_ROWS][CYMF_TILE_ROWS], inverse[CYMF_TILE_ROWS];
    REAL right[2][CYMF_TILE_ROWS];
    CYMF_UNROLL
    for (int p = 0; p < CYMF_TILE_ROWS; ++p) {
      CYMF_UNROLL
      for (int q = p; q < CYMF_TILE_ROWS; ++q) u[p][q] = strip[p * n + a + q];
    }
    CYMF_UNROLL
    for (int p = 0; p < CYMF_TILE_ROWS; ++p) {
      inverse[p] = 1 / u[p][p];
      CYMF_UNROLL
      for (int q = p + 1; q < CYMF_TILE_ROWS; ++q) {
        share[p][q] = u[p][q] * inverse[p];
        CYMF_UNROLL
        for (int m = p + 1; m <= q; ++m) u[m][q] -= share[p][m] * u[p][q];
      }
    }
    for (int p = 0; p < CYMF_TILE_ROWS; ++p)
      if (!(u[p][p] > least[p])) return a + p;
    if (next < n_rows) {
      for (int p = 0; p < CYMF_TILE_ROWS; ++p) least_of_next[p] = tolerance * G[(next + p) * n + next + p];
      NAME(strip)(CYMF_TILE_ROWS, -1, G + next * n + next_start, n, G + next, n, G + next_start, n, n - next_start, a);
    }
    CYMF_UNROLL
    for (int p = 0; p < CYMF_TILE_ROWS; ++p) inverse_diagonal[a + p] = inverse[p] = SQRT(inverse[p]);
    CYMF_UNROLL
    for (int t = 0; t < n_right; ++t) {
      CYMF_UNROLL
      for (int p = 0; p < CYMF_TILE_ROWS; ++p) {
        right[t][p] = R[t * n + a + p];
        CYMF_UNROLL
        for (int m = 0; m < p; ++m) right[t][p] -= share[m][p] * right[t][m];
      }
      CYMF_UNROLL
      for (int p = 0; p < CYMF_TILE_ROWS; ++p) right[t][p] *= inverse[p];
    }
    ptrdiff_t c = start;
    for (; c < next; c += LANES) NAME(divide_out)(1, n_right, strip, R, n, a, c, share, inverse, right);
    for (; c < n; c += LANES) NAME(divide_out)(0, n_right, strip, R, n, a, c, share, inverse, right);
    if (next < n_rows)
      NAME(strip)(CYMF_TILE_ROWS, -1, G + next * n + next_start, n, strip + next, n, strip + next_start, n,
                  n - next_start, CYMF_TILE_ROWS);
    for (int p = 0; p < CYMF_TILE_ROWS; ++p) least[p] = least_of_next[p];
  }
  return -1;
}

CYMF_FUNCTION ptrdiff_t NAME(cholesky)(REAL *G, REAL *R, const int n_right, ptrdiff_t n_rows, ptrdiff_t n,
                                REAL *inverse_diagonal, REAL tolerance) {
  return n_right == 2   ? NAME(cholesky_with)(2, G, R, n_rows, n, inverse_diagonal, tolerance)
         : n_right == 1 ? NAME(cholesky_with)(1, G, R, n_rows, n, inverse_diagonal, tolerance)
                        : NAME(cholesky_with)(0, G, R, n_rows, n, inverse_diagonal, tolerance);
}

/* x = U^-1 x, from the last strip of four rows to the first; zero past the system stays zero. The four newest unknowns
 * stay in a register for the next strip. */
CYMF_FUNCTION void NAME(back_substitute)(const REAL *G, REAL *x, ptrdiff_t n_rows, ptrdiff_t n,
                                  const REAL *inverse_diagonal) {
#if CYMF_HAVE_SHUFFLE
  typedef REAL four __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
  four newest = {0, 0, 0, 0};
#endif
  for (ptrdiff_t a = n_rows - CYMF_TILE_ROWS; a >= 0; a -= CYMF_TILE_ROWS) {
    const REAL *const strip = G + a * n;
    REAL value[CYMF_TILE_ROWS];
#if CYMF_HAVE_SHUFFLE
    four s0 = {0, 0, 0, 0}, s1 = s0, s2 = s0, s3 = s0;
    for (ptrdiff_t c = n_rows - 4; c > a; c -= 4) {
      const four xc = c == a + 4 ? newest : *(const four *)(x + c);
      s0 += xc * *(const four *)(strip + c);
      s1 += xc * *(const four *)(strip + n + c);
      s2 += xc * *(const four *)(strip + 2 * n + c);
      s3 += xc * *(const four *)(strip + 3 * n + c);
    }
    s0 = __builtin_shufflevector(s0, s1, 0, 4, 1, 5) + __builtin_shufflevector(s0, s1, 2, 6, 3, 7);
    s2 = __builtin_shufflevector(s2, s3, 0, 4, 1, 5) + __builtin_shufflevector(s2, s3, 2, 6, 3, 7);
    s0 = __builtin_shufflevector(s0, s2, 0, 1, 4, 5) + __builtin_shufflevector(s0, s2, 2, 3, 6, 7);
    s0 = *(const four *)(x + a) - s0;
    for (int p = 0; p < CYMF_TILE_ROWS; ++p) value[p] = s0[p];
#else
    for (int p = 0; p < CYMF_TILE_ROWS; ++p) {
      REAL s = 0;
      for (ptrdiff_t c = a + CYMF_TILE_ROWS; c < n_rows; ++c) s += strip[p * n + c] * x[c];
      value[p] = x[a + p] - s;
    }
#endif
    for (int p = CYMF_TILE_ROWS - 1; p >= 0; --p) {
      for (int q = CYMF_TILE_ROWS - 1; q > p; --q) value[p] -= strip[p * n + a + q] * value[q];
      value[p] *= inverse_diagonal[a + p];
    }
#if CYMF_HAVE_SHUFFLE
    newest = (four){value[0], value[1], value[2], value[3]};
    *(four *)(x + a) = newest;
#else
    for (int p = 0; p < CYMF_TILE_ROWS; ++p) x[a + p] = value[p];
#endif
  }
}

#undef LANES
#undef VEC
