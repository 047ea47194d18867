/* The innermost arithmetic of ranking losses, for float and double. Rows are padded by zeros to whole vectors. */
#ifndef CYMF_RANKING_STEPS_H
#define CYMF_RANKING_STEPS_H

#include "micro_kernels.h"

#define REAL float
#define NAME(stem) stem##_f32
#define SQRT sqrtf
#include "ranking_steps_real.h"
#undef REAL
#undef NAME
#undef SQRT

#define REAL double
#define NAME(stem) stem##_f64
#define SQRT sqrt
#include "ranking_steps_real.h"
#undef REAL
#undef NAME
#undef SQRT

#endif
