/* What this machine can do at most, at the instruction-set level this is compiled for; and a clock. POSIX. */
#ifndef CYMF_BENCH_PEAKS_H
#define CYMF_BENCH_PEAKS_H

#include <time.h>

#include "counting.h"
#include "micro_kernels.h"

#define CHAINS 12 /* independent sums: enough to hide the latency of the multiply-add, few enough for the registers */

/* The time; to callgrind, the end of one section and the begin of the next. */
static double seconds_now(void) {
  struct timespec t;
  CALLGRIND_DUMP_STATS;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* x = x * factor + summand on vectors in registers; returns the flops done */
#define DEFINE_FMA_CHAINS(NAME, REAL, VEC)                                                         \
  static double NAME(ptrdiff_t turns, REAL factor, REAL summand, REAL *sink) {                     \
    VEC x[CHAINS];                                                                                 \
    const VEC f = factor - (VEC){0}, s = summand - (VEC){0};                                       \
    CYMF_UNROLL for (int c = 0; c < CHAINS; ++c) x[c] = s + (REAL)c;                               \
    for (ptrdiff_t t = 0; t < turns; ++t) {                                                        \
      CYMF_UNROLL for (int c = 0; c < CHAINS; ++c) x[c] = x[c] * f + s;                            \
    }                                                                                              \
    CYMF_UNROLL for (int c = 1; c < CHAINS; ++c) x[0] += x[c];                                     \
    *sink += x[0][0];                                                                              \
    return 2.0 * CHAINS * (double)(CYMF_VECTOR_BYTES / sizeof(REAL)) * (double)turns;              \
  }
DEFINE_FMA_CHAINS(fma_chains_f32, float, cymf_vec_f32)
DEFINE_FMA_CHAINS(fma_chains_f64, double, cymf_vec_f64)

/* Read n floats in order, n a multiple of 8 vectors. */
static void read_in_order(const float *x, ptrdiff_t n, float *sink) {
  enum { LANES = CYMF_VECTOR_BYTES / sizeof(float) };
  cymf_vec_f32 sum[8] = {{0}};
  for (ptrdiff_t f = 0; f < n; f += 8 * LANES) {
    CYMF_UNROLL for (int c = 0; c < 8; ++c) sum[c] += load_f32(x + f + c * LANES);
  }
  for (int c = 0; c < 8; ++c) *sink += sum[c][0];
}

/* a = b + factor * c (McCalpin's STREAM) */
static void triad(float *a, const float *b, const float *c, float factor, ptrdiff_t n) {
  for (ptrdiff_t i = 0; i < n; ++i) a[i] = b[i] + factor * c[i];
}

/* Read whole rows of a table in a given order, four at a time; width is a multiple of 16. */
static void read_rows(const float *table, const int32_t *rows, ptrdiff_t n, ptrdiff_t width, float *sink) {
  enum { LANES = CYMF_VECTOR_BYTES / sizeof(float), LINE = 16 / LANES, ROWS = 4 };
  cymf_vec_f32 sum[ROWS * LINE] = {{0}};
  for (ptrdiff_t i = 0; i + ROWS <= n; i += ROWS) {
    const float *x[ROWS];
    for (int r = 0; r < ROWS; ++r) x[r] = table + rows[i + r] * width;
    for (ptrdiff_t ahead = i + 2 * ROWS; ahead < i + 3 * ROWS && ahead < n; ++ahead)
      cymf_prefetch_row(table + rows[ahead] * width, width * (ptrdiff_t)sizeof(float));
    for (ptrdiff_t f = 0; f < width; f += 16) {
      CYMF_UNROLL for (int c = 0; c < ROWS * LINE; ++c) sum[c] += load_f32(x[c / LINE] + f + c % LINE * LANES);
    }
  }
  for (int c = 0; c < ROWS * LINE; ++c) *sink += sum[c][0];
}

#endif
