/* What workers that stay in C need to share work: a counter to draw from, clocks to wait for. */
#ifndef CYMF_THREADS_H
#define CYMF_THREADS_H

#include <stdint.h>

#if defined(_WIN32)
#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
static inline void cymf_yield(void) { SwitchToThread(); }
#else
#include <sched.h>
static inline void cymf_yield(void) { sched_yield(); }
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
static __forceinline int64_t cymf_draw(int64_t *counter) { return _InterlockedExchangeAdd64((volatile __int64 *)counter, 1); }
static __forceinline int64_t cymf_read(const int64_t *clock) { int64_t t = *(const volatile int64_t *)clock; MemoryBarrier(); return t; }
static __forceinline void cymf_publish(int64_t *clock, int64_t time) { MemoryBarrier(); *(volatile int64_t *)clock = time; }
static __forceinline void cymf_pause(void) { YieldProcessor(); }
#else
static inline int64_t cymf_draw(int64_t *counter) { return __atomic_fetch_add(counter, 1, __ATOMIC_RELAXED); }
static inline int64_t cymf_read(const int64_t *clock) { return __atomic_load_n(clock, __ATOMIC_ACQUIRE); }
static inline void cymf_publish(int64_t *clock, int64_t time) { __atomic_store_n(clock, time, __ATOMIC_RELEASE); }
static inline void cymf_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("yield");
#endif
}
#endif

/* Wait until *clock == time, or until *stop is set; returns 0 when stopped. Spins briefly, then yields. */
static inline int cymf_wait(const int64_t *clock, int64_t time, const int64_t *stop) {
  for (int turn = 0; cymf_read(clock) != time; ++turn) {
    if (cymf_read(stop)) return 0;
    if (turn < 2000) cymf_pause();
    else cymf_yield();
  }
  return 1;
}

#endif
