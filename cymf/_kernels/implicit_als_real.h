/* Body of implicit_als.h for one type REAL; see there. Deliberately without an include guard. */

#define LANES ((int)(CYMF_VECTOR_BYTES / sizeof(REAL)))
#define VEC NAME(cymf_vec)

/* out[s] = x_s . y for the rows x_s = X[s]; four rows at a time share the loads of y, two partial sums each.
 * n is a multiple of LANES. */
CYMF_FUNCTION void NAME(products)(REAL *out, const REAL *const *X, const REAL *y, ptrdiff_t n, ptrdiff_t samples) {
  ptrdiff_t s = 0;
  for (; s + 4 <= samples; s += 4) {
    VEC even[4], odd[4];
    CYMF_UNROLL
    for (int r = 0; r < 4; ++r) even[r] = odd[r] = NAME(splat)(0);
    ptrdiff_t f = 0;
    for (; f + 2 * LANES <= n; f += 2 * LANES) {
      const VEC y0 = NAME(load)(y + f), y1 = NAME(load)(y + f + LANES);
      CYMF_UNROLL
      for (int r = 0; r < 4; ++r) {
        even[r] = NAME(fma)(NAME(load)(X[s + r] + f), y0, even[r]);
        odd[r] = NAME(fma)(NAME(load)(X[s + r] + f + LANES), y1, odd[r]);
      }
    }
    CYMF_UNROLL
    for (int r = 0; r < 4; ++r) {
      if (f < n) even[r] = NAME(fma)(NAME(load)(X[s + r] + f), NAME(load)(y + f), even[r]);
      out[s + r] = NAME(sum_lanes)(NAME(add)(even[r], odd[r]));
    }
  }
  for (; s < samples; ++s) {
    VEC even = NAME(splat)(0), odd = even;
    ptrdiff_t f = 0;
    for (; f + 2 * LANES <= n; f += 2 * LANES) {
      even = NAME(fma)(NAME(load)(X[s] + f), NAME(load)(y + f), even);
      odd = NAME(fma)(NAME(load)(X[s] + f + LANES), NAME(load)(y + f + LANES), odd);
    }
    if (f < n) even = NAME(fma)(NAME(load)(X[s] + f), NAME(load)(y + f), even);
    out[s] = NAME(sum_lanes)(NAME(add)(even, odd));
  }
}

#undef LANES
#undef VEC
