// Read several neighbouring values at once, and convert them with the device's own instructions.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "kernels.h"

namespace lape {

template <typename Bits, int width>
struct alignas(sizeof(Bits) * width) Pack {
  Bits values[width];
};

// The number of values in the widest access, 16 bytes.
template <typename Number>
constexpr int kFullWidth = 16 / sizeof(typename Number::Bits);

// Whether every row can be read in packs of a width. The start and the length of a row must be whole packs.
template <typename Bits, int width>
bool packs(const void* data, const Rows& rows) {
  const bool strides = (rows.outer == 1 || rows.outer_stride % width == 0) &&
                       (rows.inner == 1 || rows.inner_stride % width == 0);
  return strides && rows.columns % width == 0 &&
         reinterpret_cast<uintptr_t>(data) % (sizeof(Bits) * width) == 0;
}

// Where a row starts. Rows::offset would divide in 64 bits, which costs more than adding up the row's values.
__device__ __forceinline__ int64_t row_start(const Rows& rows, int32_t row) {
  if (rows.outer == 1) return row * rows.inner_stride;
  const auto inner = static_cast<uint32_t>(rows.inner), number = static_cast<uint32_t>(row);
  return number / inner * rows.outer_stride + number % inner * rows.inner_stride;
}

template <typename Number>
__device__ __forceinline__ float to_float(typename Number::Bits bits) {
  if constexpr (std::is_same_v<Number, Float16>) return __half2float(__ushort_as_half(bits));
  return Number::to_float(bits);
}

// A word is 32 bits: one float32, or two neighbours of a 16-bit format with the first in the lower half.
template <typename Number>
constexpr int kEach = 4 / sizeof(typename Number::Bits);

// Pairs as CUDA has them, and as words.
template <typename Number>
using PairOf = std::conditional_t<std::is_same_v<Number, BFloat16>, __nv_bfloat162, __half2>;

template <typename Pair>
__device__ __forceinline__ Pair pair_of(uint32_t word) {
  Pair pair;
  std::memcpy(&pair, &word, sizeof(pair));
  return pair;
}

template <typename Pair>
__device__ __forceinline__ uint32_t word_of_pair(Pair pair) {
  uint32_t word;
  std::memcpy(&word, &pair, sizeof(word));
  return word;
}

// The word of two floats, each rounded to nearest even. A float32 has a word of its own, and `high` is
// unused.
template <typename Number>
__device__ __forceinline__ uint32_t word_of(float low, float high) {
  if constexpr (std::is_same_v<Number, BFloat16>) return word_of_pair(__floats2bfloat162_rn(low, high));
  if constexpr (std::is_same_v<Number, Float16>) return word_of_pair(__floats2half2_rn(low, high));
  return as_bits(low);
}

// The nearest number of the format.
template <typename Number>
__device__ __forceinline__ float rounded(float value) {
  if constexpr (kEach<Number> == 1) return value;
  const uint32_t word = word_of<Number>(0.0f, value);  // the upper half of a pair is fast to convert
  return std::is_same_v<Number, BFloat16> ? as_float(word) : to_float<Number>(word >> 16);
}

// All bits set where a value of `word` is above that of `limit`, and none elsewhere or for NaN. Subnormals
// are values like others.
template <typename Number>
__device__ __forceinline__ uint32_t mask_above(uint32_t word, uint32_t limit) {
  if constexpr (kEach<Number> == 1) return as_float(word) > as_float(limit) ? 0xffffffffu : 0u;
  if constexpr (kEach<Number> == 2) {
    return __hgt2_mask(pair_of<PairOf<Number>>(word), pair_of<PairOf<Number>>(limit));
  }
}

// The values of a word, or zero where they are below. NaN stays NaN.
template <typename Number>
__device__ __forceinline__ uint32_t rectified(uint32_t word) {
  if constexpr (kEach<Number> == 1) {
    return isnan(as_float(word)) ? word : as_bits(fmaxf(as_float(word), 0.0f));
  } else {
    using Pair = PairOf<Number>;
    return word_of_pair(__hmax2_nan(pair_of<Pair>(word), pair_of<Pair>(0)));
  }
}

// The products of two words' values in their format. Eager torch rounds the float32 product. That product is
// exact for 16-bit formats wherever the result is not zero, so that one rounding gives the same bits.
template <typename Number>
__device__ __forceinline__ uint32_t product(uint32_t a, uint32_t b) {
  if constexpr (kEach<Number> == 1) return as_bits(__fmul_rn(as_float(a), as_float(b)));
  if constexpr (kEach<Number> == 2) {
    return word_of_pair(__hmul2_rn(pair_of<PairOf<Number>>(a), pair_of<PairOf<Number>>(b)));
  }
}

// A pack that stays in whole words until a value is asked for. For a Pack the compiler would use one register
// per value as soon as the pack is read. A single 16-bit value has a word whose upper half is zero.
template <typename Number, int width>
struct Words {
  using Bits = typename Number::Bits;
  static constexpr int number = (width + kEach<Number> - 1) / kEach<Number>;
  uint32_t words[number];

  // The compiler does not see that a pointer which comes from shared memory is one to global memory.
  __device__ __forceinline__ static Words read(const Bits* place) {
    __builtin_assume(__isGlobal(place));
    Words result;
    if constexpr (width % kEach<Number> != 0) {
      result.words[0] = *place;
    } else {
      const auto pack = *reinterpret_cast<const Pack<uint32_t, number>*>(place);
#pragma unroll
      for (int j = 0; j < number; ++j) result.words[j] = pack.values[j];
    }
    return result;
  }
  __device__ __forceinline__ void write(Bits* place) const {
    __builtin_assume(__isGlobal(place));
    if constexpr (width % kEach<Number> != 0) {
      *place = static_cast<Bits>(words[0]);
    } else {
      Pack<uint32_t, number> pack;
#pragma unroll
      for (int j = 0; j < number; ++j) pack.values[j] = words[j];
      *reinterpret_cast<Pack<uint32_t, number>*>(place) = pack;
    }
  }
  // The words of floats, each rounded to nearest even.
  __device__ __forceinline__ static Words of(const float (&values)[width]) {
    Words result;
#pragma unroll
    for (int j = 0; j < number; ++j) {
      const int first = j * kEach<Number>, last = first + kEach<Number> - 1;
      result.words[j] = word_of<Number>(values[first], last < width ? values[last] : 0.0f);
    }
    return result;
  }
  __device__ __forceinline__ static Words all(float value) {
    Words result;
#pragma unroll
    for (int j = 0; j < number; ++j) result.words[j] = word_of<Number>(value, value);
    return result;
  }
  __device__ __forceinline__ float get(int k) const {
    return to_float<Number>(static_cast<Bits>(words[k / kEach<Number>] >> k % kEach<Number> * 16));
  }
};

}  // namespace lape
