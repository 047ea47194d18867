/* Body of top_n.h for one type REAL; see there. Deliberately without an include guard. */

/* Quantize a row: row[f] ~ scale Q[f], |Q[f]| <= levels, stored as Q[f] + shift at quantized[f / 4 * stride + f % 4].
 * Also its norm, the norm of what rounding lost, ||row - scale Q||, both inflated by more than their own rounding, and the sum
 * of Q. A row that single precision cannot scale, or 32 bits cannot sum, becomes Q = 0, with an error as large as itself. */
CYMF_FUNCTION void NAME(quantize)(const REAL *row, ptrdiff_t n, int levels, int shift, int8_t *quantized, ptrdiff_t stride,
                                  float *scale, double *norm, double *error, int32_t *sum) {
  double squares[4] = {0, 0, 0, 0}, lost[4] = {0, 0, 0, 0};
  REAL largest[4] = {0, 0, 0, 0};
  for (ptrdiff_t f = 0; f < n; ++f) {
    const double x = row[f];
    const REAL size = row[f] < 0 ? -row[f] : row[f];
    squares[f % 4] += x * x;
    largest[f % 4] = size > largest[f % 4] ? size : largest[f % 4];
  }
  for (int l = 1; l < 4; ++l) largest[0] = largest[l] > largest[0] ? largest[l] : largest[0];
  *norm = sqrt((squares[0] + squares[1]) + (squares[2] + squares[3])) * (1 + 1e-9);
  *scale = (float)((double)largest[0] / levels * (1 + 1e-6)); /* rounding does not take it below */
  *sum = 0;
  if (!(*norm < 1e35) || !(*scale > 1e-30f) || n > CYMF_QUANTIZED_FACTORS) {
    *scale = 0;
    for (ptrdiff_t f = 0; f < n; ++f) quantized[f / 4 * stride + f % 4] = (int8_t)shift;
    *error = *norm;
    return;
  }
  const double inverse = 1 / (double)*scale;
  for (ptrdiff_t f = 0; f < n; ++f) {
    const double x = row[f] * inverse;
    const int32_t q = (int32_t)(x + (x < 0 ? -0.5 : 0.5));
    const double rest = row[f] - *scale * (double)q;
    quantized[f / 4 * stride + f % 4] = (int8_t)(q + shift);
    lost[f % 4] += rest * rest;
    *sum += q;
  }
  *error = sqrt((lost[0] + lost[1]) + (lost[2] + lost[3])) * (1 + 1e-9);
}
