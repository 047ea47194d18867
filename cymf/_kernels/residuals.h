/* The products that residuals need, for float and double: residuals_real.h is the body, included once per type. */
#ifndef CYMF_RESIDUALS_H
#define CYMF_RESIDUALS_H

#include "micro_kernels.h"

#define REAL float
#define NAME(stem) stem##_f32
#include "residuals_real.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(stem) stem##_f64
#include "residuals_real.h"
#undef REAL
#undef NAME

#endif
