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
#include "micro_kernels_real.h"
#undef REAL
#undef NAME
#undef SQRT

#define REAL double
#define NAME(stem) stem##_f64
#define SQRT sqrt
#include "micro_kernels_real.h"
#undef REAL
#undef NAME
#undef SQRT

#endif
