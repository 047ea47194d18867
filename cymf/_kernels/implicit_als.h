/* Innermost arithmetic of implicit ALS, for float and double; see implicit_als_real.h. */
#ifndef CYMF_IMPLICIT_ALS_H
#define CYMF_IMPLICIT_ALS_H

#include "micro_kernels.h"

#define REAL float
#define NAME(stem) stem##_f32
#include "implicit_als_real.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(stem) stem##_f64
#include "implicit_als_real.h"
#undef REAL
#undef NAME

#endif
