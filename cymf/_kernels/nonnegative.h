/* Innermost arithmetic of non-negative rows, for float and double; see nonnegative_real.h. */
#ifndef CYMF_NONNEGATIVE_H
#define CYMF_NONNEGATIVE_H

#include "micro_kernels.h"

#define CYMF_BLOCK_VECTORS 4

#define REAL float
#define NAME(stem) stem##_f32
#include "nonnegative_real.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(stem) stem##_f64
#include "nonnegative_real.h"
#undef REAL
#undef NAME

#endif
