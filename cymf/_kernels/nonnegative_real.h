/* Body of nonnegative.h for one type REAL; see there. Deliberately without an include guard.
 *
 * Rows that share one Gram matrix are solved four vectors of them at a time, one row a lane: W and R are (k, ROWS), so
 * that a coordinate of all rows is a run of vectors and every entry of the Gram matrix is loaded once for all of them. No
 * lane looks at another: a row's result does not depend on the rows beside it.
 */

#define LANES ((int)(CYMF_VECTOR_BYTES / sizeof(REAL)))
#define ROWS (CYMF_BLOCK_VECTORS * LANES)
#define MOST_ROWS (CYMF_BLOCK_VECTORS * (int)(64 / sizeof(REAL)))
#define VEC NAME(cymf_vec)

/* max(a, 0), and 0 for NaN */
#if CYMF_VECTOR_EXTENSIONS
CYMF_INLINE VEC NAME(positive_part)(VEC a) {
  const VEC zero = NAME(splat)(0);
  return (VEC)((__typeof__(a > zero))a & (a > zero));
}
#else
CYMF_INLINE VEC NAME(positive_part)(VEC a) {
  for (int l = 0; l < LANES; ++l) a.lane[l] = a.lane[l] > 0 ? a.lane[l] : 0;
  return a;
}
#endif

/* sums[v] = sum_f g[f] W[f, :], two partial sums each */
CYMF_INLINE void NAME(block_products)(VEC *sums, const REAL *g, const REAL *W, ptrdiff_t k) {
  VEC even[CYMF_BLOCK_VECTORS], odd[CYMF_BLOCK_VECTORS];
  CYMF_UNROLL
  for (int v = 0; v < CYMF_BLOCK_VECTORS; ++v) even[v] = odd[v] = NAME(splat)(0);
  ptrdiff_t f = 0;
  for (; f + 2 <= k; f += 2) {
    const VEC g0 = NAME(splat)(g[f]), g1 = NAME(splat)(g[f + 1]);
    CYMF_UNROLL
    for (int v = 0; v < CYMF_BLOCK_VECTORS; ++v) {
      even[v] = NAME(fma)(g0, NAME(load)(W + f * ROWS + v * LANES), even[v]);
      odd[v] = NAME(fma)(g1, NAME(load)(W + (f + 1) * ROWS + v * LANES), odd[v]);
    }
  }
  if (f < k) {
    const VEC g0 = NAME(splat)(g[f]);
    CYMF_UNROLL
    for (int v = 0; v < CYMF_BLOCK_VECTORS; ++v) even[v] = NAME(fma)(g0, NAME(load)(W + f * ROWS + v * LANES), even[v]);
  }
  CYMF_UNROLL
  for (int v = 0; v < CYMF_BLOCK_VECTORS; ++v) sums[v] = NAME(add)(even[v], odd[v]);
}

/* Coordinate descent on min 1/2 w'Gw - (r - l1)'w, w >= 0, for each column w of W (k, ROWS), r of R (k, ROWS). inverse[f] is
 * 1 / G[f, f], or 0 where that is 0 and the coordinate becomes 0. A column rests once a pass lowered its objective by
 * at most `precision` times what all passes had; at most `passes` are done. */
CYMF_FUNCTION void NAME(descend_block)(const REAL *G, ptrdiff_t ldg, const REAL *inverse, REAL l1, REAL *W, const REAL *R,
                                       ptrdiff_t k, ptrdiff_t passes, REAL precision) {
  REAL active[MOST_ROWS], total[MOST_ROWS], gained[MOST_ROWS];
  for (int r = 0; r < ROWS; ++r) {
    active[r] = 1;
    total[r] = 0;
  }
  for (ptrdiff_t pass = 0; pass < passes; ++pass) {
    VEC gain[CYMF_BLOCK_VECTORS];
    CYMF_UNROLL
    for (int v = 0; v < CYMF_BLOCK_VECTORS; ++v) gain[v] = NAME(splat)(0);
    for (ptrdiff_t f = 0; f < k; ++f) {
      VEC gradient[CYMF_BLOCK_VECTORS];
      NAME(block_products)(gradient, G + f * ldg, W, k);
      const VEC step = NAME(splat)(inverse[f]), curvature = NAME(splat)(G[f * ldg + f]);
      const VEC keep = NAME(splat)(inverse[f] > 0 ? (REAL)1 : (REAL)0), penalty = NAME(splat)(l1);
      CYMF_UNROLL
      for (int v = 0; v < CYMF_BLOCK_VECTORS; ++v) {
        REAL *const at = W + f * ROWS + v * LANES;
        const VEC old = NAME(load)(at);
        const VEC pull = NAME(fnma)(NAME(splat)(1), NAME(load)(R + f * ROWS + v * LANES), NAME(add)(gradient[v], penalty));
        const VEC best = NAME(positive_part)(NAME(fnma)(step, pull, NAME(mul)(keep, old)));
        const VEC change = NAME(mul)(NAME(load)(active + v * LANES), NAME(fnma)(NAME(splat)(1), old, best));
        NAME(store)(at, NAME(add)(old, change));
        gain[v] = NAME(fma)(NAME(mul)(curvature, change), change, gain[v]);
      }
    }
    CYMF_UNROLL
    for (int v = 0; v < CYMF_BLOCK_VECTORS; ++v) NAME(store)(gained + v * LANES, gain[v]);
    int any = 0;
    for (int r = 0; r < ROWS; ++r) {
      total[r] += gained[r];
      active[r] = gained[r] > precision * total[r] ? (REAL)1 : (REAL)0;
      any |= gained[r] > precision * total[r];
    }
    if (!any) break;
  }
}

/* One multiplicative update W *= R / (G W + l1); what has no denominator stays. `denominators` is (k, ROWS). */
CYMF_FUNCTION void NAME(multiply_block)(const REAL *G, ptrdiff_t ldg, REAL l1, REAL *W, const REAL *R, REAL *denominators,
                                        ptrdiff_t k) {
  for (ptrdiff_t f = 0; f < k; ++f) {
    VEC sums[CYMF_BLOCK_VECTORS];
    NAME(block_products)(sums, G + f * ldg, W, k);
    CYMF_UNROLL
    for (int v = 0; v < CYMF_BLOCK_VECTORS; ++v)
      NAME(store)(denominators + f * ROWS + v * LANES, NAME(add)(sums[v], NAME(splat)(l1)));
  }
  for (ptrdiff_t c = 0; c < k * ROWS; ++c) W[c] *= denominators[c] > 0 ? R[c] / denominators[c] : (REAL)1;
}

/* T[f, r] = A[r, f] for r < n_rows, 0 for the other lanes; and back. A has rows of lda. */
CYMF_FUNCTION void NAME(into_lanes)(REAL *T, const REAL *A, ptrdiff_t lda, ptrdiff_t n_rows, ptrdiff_t k) {
  for (ptrdiff_t r = 0; r < ROWS; ++r)
    for (ptrdiff_t f = 0; f < k; ++f) T[f * ROWS + r] = r < n_rows ? A[r * lda + f] : (REAL)0;
}

CYMF_FUNCTION void NAME(out_of_lanes)(REAL *A, ptrdiff_t lda, const REAL *T, ptrdiff_t n_rows, ptrdiff_t k) {
  for (ptrdiff_t r = 0; r < n_rows; ++r)
    for (ptrdiff_t f = 0; f < k; ++f) A[r * lda + f] = T[f * ROWS + r];
}

#undef LANES
#undef ROWS
#undef MOST_ROWS
#undef VEC
