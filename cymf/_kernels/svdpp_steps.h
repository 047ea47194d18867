/* The innermost arithmetic of SVD++, for float and double. Rows are padded by zeros to whole vectors. */
#ifndef CYMF_SVDPP_STEPS_H
#define CYMF_SVDPP_STEPS_H

#include "micro_kernels.h"

#define REAL float
#define NAME(stem) stem##_f32
#include "svdpp_steps_real.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(stem) stem##_f64
#include "svdpp_steps_real.h"
#undef REAL
#undef NAME

#endif
