/* The highest x86-64 microarchitecture level, as far as cymf has kernels for it. */
#ifndef CYMF_CPU_H
#define CYMF_CPU_H

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
static int cymf_cpu_level(void) {
  __builtin_cpu_init();
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))) return 1;
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return 4;
  return 3;
}
#elif defined(_M_X64)
#include <immintrin.h>
#include <intrin.h>
static int cymf_cpu_level(void) {
  int r[4];
  unsigned long long enabled;
  __cpuid(r, 1);
  if (!(r[2] & (1 << 27)) || !(r[2] & (1 << 12))) return 1; /* OSXSAVE, FMA */
  enabled = _xgetbv(0);
  if ((enabled & 6) != 6) return 1;
  __cpuidex(r, 7, 0);
  if (!(r[1] & (1 << 5))) return 1;
  /* F, DQ, BW, VL, and the system saves the upper registers */
  if ((enabled & 0xe6) == 0xe6 && (r[1] & (1 << 16)) && (r[1] & (1 << 17)) && (r[1] & (1 << 30)) && ((unsigned)r[1] >> 31))
    return 4;
  return 3;
}
#else
static int cymf_cpu_level(void) { return 1; }
#endif

#endif
