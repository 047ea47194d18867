/* The highest level whose instructions the processor has and whose registers the system keeps. By cpuid itself: a
   compiler's own question, __builtin_cpu_supports, is answered by a library that comes with it, and zig's always says no. */
#ifndef CYMF_CPU_H
#define CYMF_CPU_H

#if defined(__x86_64__) || defined(_M_X64)

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
static void cymf_cpuid(int leaf, unsigned r[4]) { __cpuidex((int *)r, leaf, 0); }
static unsigned long long cymf_kept_registers(void) { return _xgetbv(0); }
#else
#include <cpuid.h>
static void cymf_cpuid(int leaf, unsigned r[4]) { __cpuid_count(leaf, 0, r[0], r[1], r[2], r[3]); }
static unsigned long long cymf_kept_registers(void) {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (unsigned long long)high << 32 | low;
}
#endif

enum { eax, ebx, ecx };

static int cymf_cpu_level(void) {
  const unsigned fma_osxsave = 1u << 12 | 1u << 27;                                  /* leaf 1, ecx */
  const unsigned bmi1_avx2_bmi2 = 1u << 3 | 1u << 5 | 1u << 8;                       /* leaf 7, ebx */
  const unsigned f_dq_cd_bw_vl = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31; /* leaf 7, ebx */
  const unsigned long long ymm = 0x6, zmm = 0xe6;
  unsigned long long kept;
  unsigned r[4];
  cymf_cpuid(0, r);
  if (r[eax] < 7) return 1;
  cymf_cpuid(1, r);
  if ((r[ecx] & fma_osxsave) != fma_osxsave) return 1;
  kept = cymf_kept_registers();
#if defined(__APPLE__)
  if ((kept & ymm) == ymm) kept |= zmm; /* macOS keeps the others from their first use on */
#endif
  cymf_cpuid(7, r);
  if ((kept & ymm) != ymm || (r[ebx] & bmi1_avx2_bmi2) != bmi1_avx2_bmi2) return 1;
  return (kept & zmm) == zmm && (r[ebx] & f_dq_cd_bw_vl) == f_dq_cd_bw_vl ? 4 : 3;
}

#else
static int cymf_cpu_level(void) { return 1; }
#endif

#endif
