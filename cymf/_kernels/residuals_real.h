/* Body of residuals.h for one type REAL; see there. Deliberately without an include guard. */

#define LANES ((int)(CYMF_VECTOR_BYTES / sizeof(REAL)))
#define VEC NAME(cymf_vec)

/* out[t] = x . y_t for four rows: x is loaded once, and four sums wait for each other no more than one would. */
CYMF_INLINE void NAME(four_products)(REAL *out, const REAL *x, const REAL *y0, const REAL *y1, const REAL *y2,
                                     const REAL *y3, ptrdiff_t n) {
  VEC s0 = NAME(splat)(0), s1 = s0, s2 = s0, s3 = s0;
  for (ptrdiff_t f = 0; f < n; f += LANES) {
    const VEC a = NAME(load)(x + f);
    s0 = NAME(fma)(a, NAME(load)(y0 + f), s0);
    s1 = NAME(fma)(a, NAME(load)(y1 + f), s1);
    s2 = NAME(fma)(a, NAME(load)(y2 + f), s2);
    s3 = NAME(fma)(a, NAME(load)(y3 + f), s3);
  }
  out[0] = NAME(sum_lanes)(s0);
  out[1] = NAME(sum_lanes)(s1);
  out[2] = NAME(sum_lanes)(s2);
  out[3] = NAME(sum_lanes)(s3);
}

#undef LANES
#undef VEC
