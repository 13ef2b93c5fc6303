// Vectors of values, for loops that are written by hand for AVX2.
#pragma once

#include "simd.h"

#ifdef LAPE_X86
#include <immintrin.h>

namespace lape {

// Only a function with this mark, or with LAPE_AVX2, may call another with this mark.
#define LAPE_AVX2_INLINE LAPE_AVX2 inline __attribute__((always_inline))

// The values whose bits fill one vector: eight of float32, sixteen of a 16-bit format.
template <typename Format>
constexpr int kVector = 32 / sizeof(typename Format::Bits);

template <typename Bits>
LAPE_AVX2_INLINE __m256i load_bits(const Bits* values) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
}

template <typename Bits>
LAPE_AVX2_INLINE void store_bits(Bits* values, __m256i bits) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(values), bits);
}

// The lower and the upper four of eight float32.
LAPE_AVX2_INLINE __m256d lower_doubles(__m256 values) {
  return _mm256_cvtps_pd(_mm256_castps256_ps128(values));
}
LAPE_AVX2_INLINE __m256d upper_doubles(__m256 values) {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(values, 1));
}

// Writes kVector values to `result`, four to a vector, in order.
template <typename Format>
LAPE_AVX2_INLINE void load_doubles(const typename Format::Bits* values, __m256d* result);

template <>
LAPE_AVX2_INLINE void load_doubles<Float32>(const uint32_t* values, __m256d* result) {
  const auto* four = reinterpret_cast<const float*>(values);
  result[0] = _mm256_cvtps_pd(_mm_loadu_ps(four));
  result[1] = _mm256_cvtps_pd(_mm_loadu_ps(four + 4));
}

// Sixteen values of a 16-bit format as float32.
struct Widened {
  __m256 first, second;
};

// Zeros below the bits of a bfloat16 make it a float32. Both halves of a vector are interleaved by
// themselves: `first` has the values 0-3 and 8-11.
LAPE_AVX2_INLINE Widened widen_bfloat16(__m256i bits) {
  const __m256i zero = _mm256_setzero_si256();
  return {_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, bits)),
          _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, bits))};
}

// `first` has the values 0-7.
LAPE_AVX2_INLINE Widened widen_float16(__m256i bits) {
  return {_mm256_cvtph_ps(_mm256_castsi256_si128(bits)), _mm256_cvtph_ps(_mm256_extracti128_si256(bits, 1))};
}

template <>
LAPE_AVX2_INLINE void load_doubles<BFloat16>(const uint16_t* values, __m256d* result) {
  const Widened wide = widen_bfloat16(load_bits(values));
  result[0] = lower_doubles(wide.first);
  result[1] = lower_doubles(wide.second);
  result[2] = upper_doubles(wide.first);
  result[3] = upper_doubles(wide.second);
}

template <>
LAPE_AVX2_INLINE void load_doubles<Float16>(const uint16_t* values, __m256d* result) {
  const Widened wide = widen_float16(load_bits(values));
  result[0] = lower_doubles(wide.first);
  result[1] = upper_doubles(wide.first);
  result[2] = lower_doubles(wide.second);
  result[3] = upper_doubles(wide.second);
}

// BFloat16::from_float, in the lower half of each float32.
LAPE_AVX2_INLINE __m256i narrow_bfloat16(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
  const __m256i chosen = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(0x7fc00000), is_nan);
  return _mm256_srli_epi32(chosen, 16);
}

// Float16::from_float. The processor's conversion would keep the payload of a NaN.
LAPE_AVX2_INLINE __m128i narrow_float16(__m256 value) {
  const __m256 sign = _mm256_and_ps(value, _mm256_set1_ps(-0.0f));
  const __m256 nan = _mm256_or_ps(sign, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000)));
  const __m256 is_nan = _mm256_cmp_ps(value, value, _CMP_UNORD_Q);
  return _mm256_cvtps_ph(_mm256_blendv_ps(value, nan, is_nan), _MM_FROUND_TO_NEAREST_INT);
}

// The products of kVector values, rounded once.
template <typename Format>
LAPE_AVX2_INLINE __m256i multiply(__m256i left, __m256i right);

template <>
LAPE_AVX2_INLINE __m256i multiply<Float32>(__m256i left, __m256i right) {
  return _mm256_castps_si256(_mm256_mul_ps(_mm256_castsi256_ps(left), _mm256_castsi256_ps(right)));
}

template <>
LAPE_AVX2_INLINE __m256i multiply<BFloat16>(__m256i left, __m256i right) {
  const Widened a = widen_bfloat16(left), b = widen_bfloat16(right);
  return _mm256_packus_epi32(narrow_bfloat16(_mm256_mul_ps(a.first, b.first)),
                             narrow_bfloat16(_mm256_mul_ps(a.second, b.second)));
}

template <>
LAPE_AVX2_INLINE __m256i multiply<Float16>(__m256i left, __m256i right) {
  const Widened a = widen_float16(left), b = widen_float16(right);
  return _mm256_set_m128i(narrow_float16(_mm256_mul_ps(a.second, b.second)),
                          narrow_float16(_mm256_mul_ps(a.first, b.first)));
}

// is_positive of each value: -1 or 0 in as many bits as the value has. AVX2 compares signed numbers alone, so
// that the range 1 ... infinity is moved to the least numbers.
template <typename Format>
LAPE_AVX2_INLINE __m256i positive(__m256i bits) {
  if constexpr (sizeof(typename Format::Bits) == 4) {
    const __m256i moved = _mm256_add_epi32(bits, _mm256_set1_epi32(INT32_MAX));
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(INT32_MIN + Format::infinity), moved);
  } else {
    const __m256i moved = _mm256_add_epi16(bits, _mm256_set1_epi16(INT16_MAX));
    return _mm256_cmpgt_epi16(_mm256_set1_epi16(static_cast<int16_t>(INT16_MIN + Format::infinity)), moved);
  }
}

// sum[k] -= mask[k] for kVector masks of -1 or 0.
template <typename Format>
LAPE_AVX2_INLINE __m256i subtract(__m256i sum, __m256i mask) {
  return sizeof(typename Format::Bits) == 4 ? _mm256_sub_epi32(sum, mask) : _mm256_sub_epi16(sum, mask);
}

// Adds eight counts to int64 counters.
LAPE_AVX2_INLINE void add_counts_8(__m256i counts, int64_t* counter) {
  const __m256i wide[2] = {_mm256_cvtepi32_epi64(_mm256_castsi256_si128(counts)),
                           _mm256_cvtepi32_epi64(_mm256_extracti128_si256(counts, 1))};
  for (int k = 0; k < 2; ++k) {
    auto* four = reinterpret_cast<__m256i*>(counter + 4 * k);
    _mm256_storeu_si256(four, _mm256_add_epi64(_mm256_loadu_si256(four), wide[k]));
  }
}

// Adds kVector counts, which have as many bits as a value, to int64 counters.
template <typename Format>
LAPE_AVX2_INLINE void add_counts(__m256i counts, int64_t* counter) {
  if constexpr (sizeof(typename Format::Bits) == 4) {
    add_counts_8(counts, counter);
  } else {
    add_counts_8(_mm256_cvtepi16_epi32(_mm256_castsi256_si128(counts)), counter);
    add_counts_8(_mm256_cvtepi16_epi32(_mm256_extracti128_si256(counts, 1)), counter + 8);
  }
}

}  // namespace lape
#endif
