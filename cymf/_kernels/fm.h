/* Counting finished work, where the next step must see all of it. */
#ifndef CYMF_FM_H
#define CYMF_FM_H

#include "threads.h"

#if defined(_MSC_VER) && !defined(__clang__)
static __forceinline void cymf_arrive(int64_t *done) { _InterlockedExchangeAdd64((volatile __int64 *)done, 1); }
#else
static inline void cymf_arrive(int64_t *done) { __atomic_fetch_add(done, 1, __ATOMIC_ACQ_REL); }
#endif

#endif
