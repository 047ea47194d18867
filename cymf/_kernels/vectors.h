/* Vector types of the instruction-set level this translation unit is compiled for.
 *
 * One source, several levels: the compiler flags alone decide (setup.py holds the table).
 *   x86-64 baseline  SSE2            16 bytes
 *   v3               AVX2 + FMA      32 bytes
 *   v4               AVX-512         64 bytes
 *   arm64            NEON            16 bytes
 * GCC and Clang have vector types; elsewhere the same operations are plain loops over lanes, which CYMF_PLAIN_LANES
 * asks for on any compiler, so that they can be tested.
 * Every reduction has an explicit order, so no flag that reassociates is needed or wanted.
 */
#ifndef CYMF_VECTORS_H
#define CYMF_VECTORS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define CYMF_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define CYMF_VECTOR_BYTES 32
#else
#define CYMF_VECTOR_BYTES 16
#endif

#if defined(__GNUC__) || defined(__clang__)
#define CYMF_INLINE static inline __attribute__((always_inline))
#define CYMF_FUNCTION static __attribute__((unused))
#define CYMF_PREFETCH(address) __builtin_prefetch((const void *)(address))
#define CYMF_LIKELY(condition) __builtin_expect(!!(condition), 1)
#else
#define CYMF_INLINE static __forceinline
#define CYMF_FUNCTION static
#define CYMF_PREFETCH(address) ((void)0)
#define CYMF_LIKELY(condition) (condition)
#endif

#if (defined(__GNUC__) || defined(__clang__)) && !defined(CYMF_PLAIN_LANES)
#define CYMF_VECTOR_EXTENSIONS 1
#else
#define CYMF_VECTOR_EXTENSIONS 0
#endif

#if CYMF_VECTOR_EXTENSIONS && (defined(__clang__) || __GNUC__ >= 12)
#define CYMF_HAVE_SHUFFLE 1
#else
#define CYMF_HAVE_SHUFFLE 0
#endif

/* Ask for every cache line of a row that will be read soon. */
CYMF_INLINE void cymf_prefetch_row(const void *row, ptrdiff_t bytes) {
  for (ptrdiff_t b = 0; b < bytes; b += 64) CYMF_PREFETCH((const char *)row + b);
}

#if defined(__clang__)
#define CYMF_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define CYMF_UNROLL _Pragma("GCC unroll 16")
#else
#define CYMF_UNROLL
#endif

#endif
