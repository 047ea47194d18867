/* The filter of top-N search: scores of quantized factors, 64 targets at a time, against a threshold.
 *
 * Why 8-bit integers: one instruction multiplies 32 of them and adds pairs (AVX2 pmaddubsw), two of its results are added
 * in 16 bits, and one more instruction adds pairs into 32 bits: 64 products for three multiplications, where single
 * precision does 8 for one. The ranges are chosen so that nothing saturates: queries are stored as Q + 64, 1 to 127,
 * targets as -64 to 64, and 4 * 127 * 64 < 2^15. The sums, which start at -64 sum(T), are then exact integers.
 */
#ifndef CYMF_TOP_N_H
#define CYMF_TOP_N_H

#include "vectors.h"

#if defined(__AVX2__) || defined(__SSE2__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define CYMF_STRIP 16 /* targets beside each other; factor f of target l is at (f / 4 * CYMF_STRIP + l) * 4 + f % 4 */
#define CYMF_PANEL_STRIPS 4
#define CYMF_PANEL (CYMF_PANEL_STRIPS * CYMF_STRIP) /* targets that share a threshold */
#define CYMF_TARGET_LEVELS 64
#define CYMF_QUERY_LEVELS 63
#define CYMF_QUERY_SHIFT 64
#define CYMF_QUANTIZED_FACTORS (1 << 17) /* 2^17 * 127 * 64 < 2^31 */

/* ---- the integer vector of this level ---------------------------------------------------------
 * INTS            INT_LANES 32-bit sums, or four 8-bit factors of INT_LANES targets
 * ints_add_dots   s + (dot product of four factors q0, t0) + (of q1, t1) in every lane; q not negative
 * ints_reaching   bit l is set unless (sum * scale[l]) * query_scale + offset[l] < threshold; NaN sets it
 * TILE_QUERIES    as many queries at once as measured best; registers hold their sums
 */
#if defined(CYMF_PLAIN_LANES)
#define CYMF_PLAIN_INTS
#elif defined(__AVX512F__) && defined(__AVX512BW__)
#define INTS __m512i
#define INT_LANES 16
#define TILE_QUERIES 6
CYMF_INLINE INTS ints_load(const void *p) { return _mm512_loadu_si512(p); }
CYMF_INLINE INTS ints_splat(int32_t a) { return _mm512_set1_epi32(a); }
CYMF_INLINE INTS ints_add_dots(INTS s, INTS q0, INTS t0, INTS q1, INTS t1) {
  const INTS pairs = _mm512_add_epi16(_mm512_maddubs_epi16(q0, t0), _mm512_maddubs_epi16(q1, t1));
  return _mm512_add_epi32(s, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}
CYMF_INLINE uint32_t ints_reaching(INTS s, const float *scale, float query_scale, const float *offset, float threshold) {
  const __m512 score = _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(s), _mm512_loadu_ps(scale)), _mm512_set1_ps(query_scale));
  return _mm512_cmp_ps_mask(_mm512_add_ps(score, _mm512_loadu_ps(offset)), _mm512_set1_ps(threshold), _CMP_NLT_UQ);
}
#elif defined(__AVX2__)
#define INTS __m256i
#define INT_LANES 8
#define TILE_QUERIES 3
CYMF_INLINE INTS ints_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
CYMF_INLINE INTS ints_splat(int32_t a) { return _mm256_set1_epi32(a); }
CYMF_INLINE INTS ints_add_dots(INTS s, INTS q0, INTS t0, INTS q1, INTS t1) {
  const INTS pairs = _mm256_add_epi16(_mm256_maddubs_epi16(q0, t0), _mm256_maddubs_epi16(q1, t1));
  return _mm256_add_epi32(s, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
CYMF_INLINE uint32_t ints_reaching(INTS s, const float *scale, float query_scale, const float *offset, float threshold) {
  const __m256 score = _mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(s), _mm256_loadu_ps(scale)), _mm256_set1_ps(query_scale));
  return (uint32_t)_mm256_movemask_ps(
      _mm256_cmp_ps(_mm256_add_ps(score, _mm256_loadu_ps(offset)), _mm256_set1_ps(threshold), _CMP_NLT_UQ));
}
#elif defined(__SSE2__) || defined(_M_X64)
#define INTS __m128i
#define INT_LANES 4
#define TILE_QUERIES 2
CYMF_INLINE INTS ints_load(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
CYMF_INLINE INTS ints_splat(int32_t a) { return _mm_set1_epi32(a); }
/* Without pmaddubsw: even and odd factors widened to 16 bits. */
CYMF_INLINE INTS ints_dots(INTS q, INTS t) {
  const INTS even = _mm_madd_epi16(_mm_and_si128(q, _mm_set1_epi16(255)), _mm_srai_epi16(_mm_slli_epi16(t, 8), 8));
  return _mm_add_epi32(even, _mm_madd_epi16(_mm_srli_epi16(q, 8), _mm_srai_epi16(t, 8)));
}
CYMF_INLINE INTS ints_add_dots(INTS s, INTS q0, INTS t0, INTS q1, INTS t1) {
  return _mm_add_epi32(s, _mm_add_epi32(ints_dots(q0, t0), ints_dots(q1, t1)));
}
CYMF_INLINE uint32_t ints_reaching(INTS s, const float *scale, float query_scale, const float *offset, float threshold) {
  const __m128 score = _mm_mul_ps(_mm_mul_ps(_mm_cvtepi32_ps(s), _mm_loadu_ps(scale)), _mm_set1_ps(query_scale));
  return (uint32_t)_mm_movemask_ps(_mm_cmpnlt_ps(_mm_add_ps(score, _mm_loadu_ps(offset)), _mm_set1_ps(threshold)));
}
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define INTS int32x4_t
#define INT_LANES 4
#define TILE_QUERIES 3
CYMF_INLINE INTS ints_load(const void *p) { return vreinterpretq_s32_s8(vld1q_s8((const int8_t *)p)); }
CYMF_INLINE INTS ints_splat(int32_t a) { return vdupq_n_s32(a); }
CYMF_INLINE int16x8_t ints_pairs(INTS q, INTS t) {
  const int8x16_t a = vreinterpretq_s8_s32(q), b = vreinterpretq_s8_s32(t);
  return vpaddq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b));
}
CYMF_INLINE INTS ints_add_dots(INTS s, INTS q0, INTS t0, INTS q1, INTS t1) {
  return vpadalq_s16(s, vaddq_s16(ints_pairs(q0, t0), ints_pairs(q1, t1)));
}
CYMF_INLINE uint32_t ints_reaching(INTS s, const float *scale, float query_scale, const float *offset, float threshold) {
  const float32x4_t score = vmulq_n_f32(vmulq_f32(vcvtq_f32_s32(s), vld1q_f32(scale)), query_scale);
  const uint32x4_t bit = {1, 2, 4, 8};
  return vaddvq_u32(vbicq_u32(bit, vcltq_f32(vaddq_f32(score, vld1q_f32(offset)), vdupq_n_f32(threshold))));
}
#else
#define CYMF_PLAIN_INTS
#endif

#if defined(CYMF_PLAIN_INTS)
typedef struct { int32_t lane[4]; } INTS;
#define INT_LANES 4
#define TILE_QUERIES 1
CYMF_INLINE INTS ints_load(const void *p) { INTS r; memcpy(&r, p, sizeof r); return r; }
CYMF_INLINE INTS ints_splat(int32_t a) { INTS r; for (int l = 0; l < 4; ++l) r.lane[l] = a; return r; }
CYMF_INLINE INTS ints_add_dots(INTS s, INTS q0, INTS t0, INTS q1, INTS t1) {
  int8_t q[32], t[32];
  memcpy(q, &q0, 16);
  memcpy(t, &t0, 16);
  memcpy(q + 16, &q1, 16);
  memcpy(t + 16, &t1, 16);
  for (int b = 0; b < 32; ++b) s.lane[b % 16 / 4] += q[b] * t[b];
  return s;
}
CYMF_INLINE uint32_t ints_reaching(INTS s, const float *scale, float query_scale, const float *offset, float threshold) {
  uint32_t reaching = 0;
  for (int l = 0; l < 4; ++l)
    reaching |= (uint32_t)!((float)s.lane[l] * scale[l] * query_scale + offset[l] < threshold) << l;
  return reaching;
}
#endif

#define STRIP_VECTORS (CYMF_STRIP / INT_LANES)

/* ---- a panel against a few queries ------------------------------------------------------------
 * reaching[q] gets a bit for every target of the panel whose score by query q is not below threshold[q].
 * quads, the number of groups of four factors, is even. start has the sums' first values, one for each target.
 */
CYMF_INLINE void tile_reaching(const int queries, const int8_t *panel, ptrdiff_t quads, const int32_t *start,
                               const int8_t *const *query, const float *query_scale, const float *threshold,
                               const float *scale, const float *offset, uint64_t *reaching) {
  for (int q = 0; q < queries; ++q) reaching[q] = 0;
  for (int strip = 0; strip < CYMF_PANEL_STRIPS; ++strip) {
    INTS sum[TILE_QUERIES][STRIP_VECTORS];
    CYMF_UNROLL
    for (int q = 0; q < queries; ++q) {
      CYMF_UNROLL
      for (int v = 0; v < STRIP_VECTORS; ++v) sum[q][v] = ints_load(start + v * INT_LANES);
    }
    for (ptrdiff_t quad = 0; quad < quads; quad += 2) {
      INTS low[STRIP_VECTORS], high[STRIP_VECTORS];
      CYMF_UNROLL
      for (int v = 0; v < STRIP_VECTORS; ++v) {
        low[v] = ints_load(panel + 4 * v * INT_LANES);
        high[v] = ints_load(panel + 4 * (CYMF_STRIP + v * INT_LANES));
      }
      panel += 8 * CYMF_STRIP;
      CYMF_UNROLL
      for (int q = 0; q < queries; ++q) {
        int32_t eight[2];
        memcpy(eight, query[q] + 4 * quad, sizeof eight);
        const INTS first = ints_splat(eight[0]), second = ints_splat(eight[1]);
        CYMF_UNROLL
        for (int v = 0; v < STRIP_VECTORS; ++v) sum[q][v] = ints_add_dots(sum[q][v], first, low[v], second, high[v]);
      }
    }
    CYMF_UNROLL
    for (int q = 0; q < queries; ++q) {
      uint32_t bits = 0;
      CYMF_UNROLL
      for (int v = 0; v < STRIP_VECTORS; ++v)
        bits |= ints_reaching(sum[q][v], scale + v * INT_LANES, query_scale[q], offset + v * INT_LANES, threshold[q])
                << (v * INT_LANES);
      reaching[q] |= (uint64_t)bits << (strip * CYMF_STRIP);
    }
    start += CYMF_STRIP;
    scale += CYMF_STRIP;
    offset += CYMF_STRIP;
  }
}

/* The same for 1 to TILE_QUERIES queries. */
CYMF_FUNCTION void cymf_panel_reaching(int queries, const int8_t *panel, ptrdiff_t quads, const int32_t *start,
                                       const int8_t *const *query, const float *query_scale, const float *threshold,
                                       const float *scale, const float *offset, uint64_t *reaching) {
#define CASE(n) \
  case n: tile_reaching(n, panel, quads, start, query, query_scale, threshold, scale, offset, reaching); return;
  switch (queries) {
    CASE(1)
#if TILE_QUERIES > 1
    CASE(2)
#endif
#if TILE_QUERIES > 2
    CASE(3)
#endif
#if TILE_QUERIES > 3
    CASE(4)
    CASE(5)
    CASE(6)
#endif
  }
#undef CASE
}

enum { CYMF_TILE_QUERIES = TILE_QUERIES };

/* The lowest set bit's number. */
CYMF_INLINE int cymf_lowest_bit(uint64_t bits) {
#if CYMF_VECTOR_EXTENSIONS
  return __builtin_ctzll(bits);
#else
  int l = 0;
  while (!(bits >> l & 1)) ++l;
  return l;
#endif
}

#define REAL float
#define NAME(stem) stem##_f32
#include "top_n_real.h"
#undef REAL
#undef NAME
#define REAL double
#define NAME(stem) stem##_f64
#include "top_n_real.h"
#undef REAL
#undef NAME

#undef CYMF_PLAIN_INTS
#undef INTS
#undef INT_LANES
#undef TILE_QUERIES
#undef STRIP_VECTORS

#endif
