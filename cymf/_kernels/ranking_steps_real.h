/* Body of ranking_steps.h for one type REAL; see there. Deliberately without an include guard. */

#define LANES ((int)(CYMF_VECTOR_BYTES / sizeof(REAL)))
#define VEC NAME(cymf_vec)

/* w . (h - l), four partial sums */
CYMF_INLINE REAL NAME(dot_difference)(const REAL *w, const REAL *h, const REAL *l, ptrdiff_t n) {
  VEC s[4];
  const VEC minus = NAME(splat)(-1);
  for (int v = 0; v < 4; ++v) s[v] = NAME(splat)(0);
  ptrdiff_t f = 0;
  for (; f + 4 * LANES <= n; f += 4 * LANES) {
    CYMF_UNROLL
    for (int v = 0; v < 4; ++v) {
      const ptrdiff_t at = f + v * LANES;
      s[v] = NAME(fma)(NAME(load)(w + at), NAME(fma)(minus, NAME(load)(l + at), NAME(load)(h + at)), s[v]);
    }
  }
  for (; f < n; f += LANES)
    s[0] = NAME(fma)(NAME(load)(w + f), NAME(fma)(minus, NAME(load)(l + f), NAME(load)(h + f)), s[0]);
  return NAME(sum_lanes)(NAME(add)(NAME(add)(s[0], s[1]), NAME(add)(s[2], s[3])));
}

/* One pairwise step, all three rows from their old values; step = rate * g, shrink = 1 - rate * reg:
 *   w <- shrink w + step (h - l),   h <- shrink h + step w,   l <- shrink l - step w
 */
CYMF_INLINE void NAME(pair_step)(REAL *w, REAL *h, REAL *l, REAL step, REAL shrink, ptrdiff_t n) {
  const VEC vs = NAME(splat)(step), vk = NAME(splat)(shrink), minus = NAME(splat)(-1);
  for (ptrdiff_t f = 0; f < n; f += LANES) {
    const VEC a = NAME(load)(w + f), b = NAME(load)(h + f), c = NAME(load)(l + f);
    const VEC move = NAME(mul)(vs, a);
    NAME(store)(w + f, NAME(fma)(vs, NAME(fma)(minus, c, b), NAME(mul)(vk, a)));
    NAME(store)(h + f, NAME(fma)(vk, b, move));
    NAME(store)(l + f, NAME(fma)(minus, move, NAME(mul)(vk, c)));
  }
}

/* gradient = reg x - g (y - z), what a row x that is scored against y - z goes down along; z may be NULL. */
CYMF_INLINE void NAME(row_gradient)(REAL *gradient, const REAL *x, const REAL *y, const REAL *z, REAL g, REAL reg,
                                    ptrdiff_t n) {
  const VEC vg = NAME(splat)(g), vr = NAME(splat)(reg), minus = NAME(splat)(-1);
  for (ptrdiff_t f = 0; f < n; f += LANES) {
    VEC towards = NAME(load)(y + f);
    if (z) towards = NAME(fma)(minus, NAME(load)(z + f), towards);
    NAME(store)(gradient + f, NAME(fnma)(vg, towards, NAME(mul)(vr, NAME(load)(x + f))));
  }
}

/* AdaGrad: sums += gradient^2, x -= rate gradient / sqrt(sums); by row, one sum holds the mean square of the row. */
CYMF_INLINE void NAME(adagrad_row)(REAL *x, REAL *sums, const REAL *gradient, REAL rate, int by_row, ptrdiff_t n_factors,
                                   ptrdiff_t n) {
  if (by_row) {
    sums[0] += NAME(dot)(gradient, gradient, n) / (REAL)n_factors;
    NAME(axpy)(x, -rate / SQRT(sums[0]), gradient, n);
  } else {
    for (ptrdiff_t f = 0; f < n_factors; ++f) {
      sums[f] += gradient[f] * gradient[f];
      x[f] -= rate / SQRT(sums[f]) * gradient[f];
    }
  }
}

#undef LANES
#undef VEC
