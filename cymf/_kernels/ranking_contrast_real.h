/* Body of ranking_contrast.h for one type REAL; see there. Deliberately without an include guard. */

#define LANES ((int)(CYMF_VECTOR_BYTES / sizeof(REAL)))
#define VEC NAME(cymf_vec)

/* G[r, c] (=, +=) sum_s A[r, s] B[s, c] for four rows or one, and one or two vectors of columns: the sums stay in
 * registers. A's elements are row_stride and sample_stride apart, so that it may be given transposed. */
CYMF_INLINE void NAME(product_tile)(const int rows, const int vectors, const int add, REAL *G, ptrdiff_t ldg, const REAL *A,
                                    ptrdiff_t row_stride, ptrdiff_t sample_stride, const REAL *B, ptrdiff_t ldb,
                                    ptrdiff_t samples) {
  VEC acc[4][2];
  CYMF_UNROLL
  for (int r = 0; r < rows; ++r) {
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v) acc[r][v] = add ? NAME(load)(G + r * ldg + v * LANES) : NAME(splat)(0);
  }
  for (ptrdiff_t s = 0; s < samples; ++s) {
    VEC b[2];
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v) b[v] = NAME(load)(B + v * LANES);
    CYMF_UNROLL
    for (int r = 0; r < rows; ++r) {
      const VEC a = NAME(splat)(A[r * row_stride]);
      CYMF_UNROLL
      for (int v = 0; v < vectors; ++v) acc[r][v] = NAME(fma)(a, b[v], acc[r][v]);
    }
    A += sample_stride;
    B += ldb;
  }
  CYMF_UNROLL
  for (int r = 0; r < rows; ++r) {
    CYMF_UNROLL
    for (int v = 0; v < vectors; ++v) NAME(store)(G + r * ldg + v * LANES, acc[r][v]);
  }
}

/* G (=, +=) A B for G (rows, columns), columns a multiple of LANES */
CYMF_FUNCTION void NAME(product)(const int add, REAL *G, ptrdiff_t ldg, ptrdiff_t rows, ptrdiff_t columns, const REAL *A,
                                 ptrdiff_t row_stride, ptrdiff_t sample_stride, const REAL *B, ptrdiff_t ldb,
                                 ptrdiff_t samples) {
  for (ptrdiff_t c = 0; c < columns;) {
    const int vectors = columns - c >= 2 * LANES ? 2 : 1;
    for (ptrdiff_t r = 0; r < rows;) {
      const int many = rows - r >= 4;
      REAL *const g = G + r * ldg + c;
      const REAL *const a = A + r * row_stride;
      if (many && vectors == 2) NAME(product_tile)(4, 2, add, g, ldg, a, row_stride, sample_stride, B + c, ldb, samples);
      else if (many) NAME(product_tile)(4, 1, add, g, ldg, a, row_stride, sample_stride, B + c, ldb, samples);
      else if (vectors == 2) NAME(product_tile)(1, 2, add, g, ldg, a, row_stride, sample_stride, B + c, ldb, samples);
      else NAME(product_tile)(1, 1, add, g, ldg, a, row_stride, sample_stride, B + c, ldb, samples);
      r += many ? 4 : 1;
    }
    c += vectors * LANES;
  }
}

/* e^x for x <= 0, 0 below the least normal number: x = n ln 2 + r, e^r by its Taylor series, n added to the exponent. */
CYMF_INLINE REAL NAME(exponential)(REAL x) {
  if (x < EXP_LEAST) return 0;
  const REAL shifted = x * EXP_LOG2_E + EXP_SHIFTER, n = shifted - EXP_SHIFTER;
  const REAL r = (x - n * EXP_LN2_HIGH) - n * EXP_LN2_LOW;
  REAL p = 1;
  for (int t = EXP_TERMS; t > 0; --t) p = 1 + p * (r * ((REAL)1 / (REAL)t));
  EXP_BITS exponent, bits;
  memcpy(&exponent, &shifted, sizeof exponent);
  memcpy(&bits, &p, sizeof bits);
  bits += exponent << EXP_MANTISSA;
  memcpy(&p, &bits, sizeof p);
  return p;
}

/* The same for a vector of numbers. */
#if CYMF_VECTOR_EXTENSIONS
CYMF_INLINE VEC NAME(exponentials)(VEC x) {
  typedef EXP_BITS mask __attribute__((vector_size(CYMF_VECTOR_BYTES)));
  const VEC least = NAME(splat)(EXP_LEAST);
  const mask low = (mask)(x < least);
  x = (VEC)(((mask)x & ~low) | ((mask)least & low));
  const VEC shifted = x * EXP_LOG2_E + EXP_SHIFTER, n = shifted - EXP_SHIFTER;
  const VEC r = (x - n * EXP_LN2_HIGH) - n * EXP_LN2_LOW;
  VEC p = NAME(splat)(1);
  CYMF_UNROLL
  for (int t = EXP_TERMS; t > 0; --t) p = 1 + p * (r * ((REAL)1 / (REAL)t));
  return (VEC)(((mask)p + ((mask)shifted << EXP_MANTISSA)) & ~low);
}
#else
CYMF_INLINE VEC NAME(exponentials)(VEC x) {
  for (int l = 0; l < LANES; ++l) x.lane[l] = NAME(exponential)(x.lane[l]);
  return x;
}
#endif

CYMF_FUNCTION void NAME(exponentials_of)(REAL *out, const REAL *x) {
  for (int b = 0; b < CONTRAST_BATCH; b += LANES) NAME(store)(out + b, NAME(exponentials)(NAME(load)(x + b)));
}

/* scores (n, CONTRAST_BATCH) <- e^((score - 1) / temperature), 0 where masked by -infinity; sums (CONTRAST_BATCH) += them */
CYMF_FUNCTION void NAME(softmax_weights)(REAL *scores, REAL *sums, ptrdiff_t n, REAL inverse_temperature) {
  const VEC inverse = NAME(splat)(inverse_temperature), shift = NAME(splat)(-inverse_temperature);
  for (ptrdiff_t r = 0; r < n; ++r, scores += CONTRAST_BATCH)
    for (int b = 0; b < CONTRAST_BATCH; b += LANES) {
      const VEC e = NAME(exponentials)(NAME(fma)(inverse, NAME(load)(scores + b), shift));
      NAME(store)(scores + b, e);
      NAME(store)(sums + b, NAME(add)(NAME(load)(sums + b), e));
    }
}

/* scores (n, CONTRAST_BATCH) <- scale[b] where above the margin, else 0; sums (CONTRAST_BATCH) += scale[b] (score - margin) */
CYMF_FUNCTION void NAME(margin_weights)(REAL *scores, REAL *sums, const REAL *scale, ptrdiff_t n, REAL margin) {
  for (ptrdiff_t r = 0; r < n; ++r, scores += CONTRAST_BATCH)
    for (int b = 0; b < CONTRAST_BATCH; ++b) {
      const REAL above = scores[b] > margin ? scores[b] - margin : 0;
      sums[b] += scale[b] * above;
      scores[b] = above > 0 ? scale[b] : 0;
    }
}

/* scores (n, CONTRAST_BATCH) *= scale[b] */
CYMF_FUNCTION void NAME(scale_columns)(REAL *scores, const REAL *scale, ptrdiff_t n) {
  for (ptrdiff_t r = 0; r < n; ++r, scores += CONTRAST_BATCH)
    for (int b = 0; b < CONTRAST_BATCH; ++b) scores[b] *= scale[b];
}

#undef LANES
#undef VEC
