/* Batches of positives against a pool of negatives, for float and double: three products and what is between them. */
#ifndef CYMF_RANKING_CONTRAST_H
#define CYMF_RANKING_CONTRAST_H

#include "micro_kernels.h"

#define CONTRAST_BATCH 32 /* positives that share a pool of negatives; a multiple of every vector's lanes */

#define REAL float
#define NAME(stem) stem##_f32
#define EXP_BITS uint32_t
#define EXP_MANTISSA 23
#define EXP_SHIFTER 12582912.0f /* 1.5 2^23: adding it rounds to whole numbers */
#define EXP_LEAST -87.0f
#define EXP_LOG2_E 1.44269504088896341f
#define EXP_LN2_HIGH 0.693359375f
#define EXP_LN2_LOW -2.12194440e-4f
#define EXP_TERMS 7
#include "ranking_contrast_real.h"
#undef REAL
#undef NAME
#undef EXP_BITS
#undef EXP_MANTISSA
#undef EXP_SHIFTER
#undef EXP_LEAST
#undef EXP_LOG2_E
#undef EXP_LN2_HIGH
#undef EXP_LN2_LOW
#undef EXP_TERMS

#define REAL double
#define NAME(stem) stem##_f64
#define EXP_BITS uint64_t
#define EXP_MANTISSA 52
#define EXP_SHIFTER 6755399441055744.0 /* 1.5 2^52 */
#define EXP_LEAST -708.0
#define EXP_LOG2_E 1.44269504088896341
#define EXP_LN2_HIGH 0.693145751953125
#define EXP_LN2_LOW 1.42860682030941723212e-6
#define EXP_TERMS 13
#include "ranking_contrast_real.h"
#undef REAL
#undef NAME
#undef EXP_BITS
#undef EXP_MANTISSA
#undef EXP_SHIFTER
#undef EXP_LEAST
#undef EXP_LOG2_E
#undef EXP_LN2_HIGH
#undef EXP_LN2_LOW
#undef EXP_TERMS

#endif
