/* The innermost loop of SGD, for float and double: sgd_real.h is the body, included once per type. */
#ifndef CYMF_SGD_H
#define CYMF_SGD_H

#include "micro_kernels.h"

#define CYMF_SGD_NEAR_BYTES 262144 /* user rows of a block that stay in the second cache */
#define CYMF_SGD_USER_AHEAD 16     /* ratings: twice as many as users take turns */
#define CYMF_SGD_ITEM_AHEAD 10

#define REAL float
#define NAME(stem) stem##_f32
#include "sgd_real.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(stem) stem##_f64
#include "sgd_real.h"
#undef REAL
#undef NAME

#endif
