/* One entry of a column of a stacked design, for float and double; and counting finished work.
 *
 * A row of a block keeps, for the factor in turn (fm_descent.pxi has the equations), eight numbers in four pairs:
 *   G_kk, G_fk   G_fk, G_ff   s_k, s_f   q_b, sum of delta x a
 * With a = q_b - v x, the first two pairs give (G_fk + a G_kk, G_ff + a G_fk): both what c h^2 is made of and what a step
 * takes off the third. So an entry costs a few operations on pairs instead of twice as many on numbers.
 * fm_real.h is the body; it is included once per type.
 */
#ifndef CYMF_FM_H
#define CYMF_FM_H

#include "threads.h"
#include "vectors.h"

#define CYMF_FM_ONE 0 /* G_kk */
#define CYMF_FM_O 2   /* G_fk, also behind G_kk; G_ff is behind it */
#define CYMF_FM_R 4   /* s_k; s_f is behind it */
#define CYMF_FM_Q 6   /* q_b; sum of delta x a is behind it */

#if defined(_MSC_VER) && !defined(__clang__)
static __forceinline void cymf_arrive(int64_t *done) { _InterlockedExchangeAdd64((volatile __int64 *)done, 1); }
#else
static inline void cymf_arrive(int64_t *done) { __atomic_fetch_add(done, 1, __ATOMIC_ACQ_REL); }
#endif

#define REAL float
#define NAME(stem) stem##_f32
#include "fm_real.h"
#undef REAL
#undef NAME

#define REAL double
#define NAME(stem) stem##_f64
#include "fm_real.h"
#undef REAL
#undef NAME

#endif
