/* The innermost arithmetic of all solvers, for float and double.
 *
 * micro_kernels_real.h is the body; it is included once per type, so that every function below exists
 * as NAME_f32 and NAME_f64. Nothing here allocates, branches on data, or knows an estimator.
 */
#ifndef CYMF_MICRO_KERNELS_H
#define CYMF_MICRO_KERNELS_H

#include "vectors.h"

#define CYMF_TILE_ROWS 4
#define CYMF_TILE_VECTORS 3

#define REAL float
#define NAME(stem) stem##_f32
#define SQRT sqrtf
#define UPPER_AND_LOWER_32(a) __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7)
#define UPPER_AND_LOWER_64(a)                            \
  __builtin_shufflevector(a, a, 0, 1, 2, 3, 4, 5, 6, 7) + \
      __builtin_shufflevector(a, a, 8, 9, 10, 11, 12, 13, 14, 15)
#include "micro_kernels_real.h"
#undef REAL
#undef NAME
#undef SQRT
#undef UPPER_AND_LOWER_32
#undef UPPER_AND_LOWER_64

#define REAL double
#define NAME(stem) stem##_f64
#define SQRT sqrt
#define UPPER_AND_LOWER_32(a) __builtin_shufflevector(a, a, 0, 1) + __builtin_shufflevector(a, a, 2, 3)
#define UPPER_AND_LOWER_64(a) __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7)
#include "micro_kernels_real.h"
#undef REAL
#undef NAME
#undef SQRT
#undef UPPER_AND_LOWER_32
#undef UPPER_AND_LOWER_64

#endif
