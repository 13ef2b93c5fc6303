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

// The value of one lane, given to the whole warp.
__device__ __forceinline__ int64_t of_lane(int64_t value, int lane) {
  return __shfl_sync(0xffffffffu, static_cast<long long>(value), lane);
}
__device__ __forceinline__ int32_t of_lane(int32_t value, int lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}

template <typename Number>
__device__ __forceinline__ float to_float(typename Number::Bits bits) {
  if constexpr (std::is_same_v<Number, Float16>) return __half2float(__ushort_as_half(bits));
  return Number::to_float(bits);
}

// Rounds to nearest even.
template <typename Number>
__device__ __forceinline__ typename Number::Bits from_float(float value) {
  if constexpr (std::is_same_v<Number, Float16>) return __half_as_ushort(__float2half_rn(value));
  if constexpr (std::is_same_v<Number, BFloat16>) return __bfloat16_as_ushort(__float2bfloat16_rn(value));
  if constexpr (std::is_same_v<Number, Float32>) return as_bits(value);
}

// The nearest number of the format.
template <typename Number>
__device__ __forceinline__ float rounded(float value) {
  if constexpr (std::is_same_v<Number, BFloat16>) {  // converting the upper half of a pair is fast
    const __nv_bfloat162 pair = __floats2bfloat162_rn(0.0f, value);
    float result;
    std::memcpy(&result, &pair, sizeof(result));
    return result;
  }
  return to_float<Number>(from_float<Number>(value));
}

// A pack that stays in whole registers, with two 16-bit values in each, until a value is asked for. For a
// Pack the compiler would use one register per value as soon as the pack is read.
template <typename Number, int width>
struct alignas(sizeof(typename Number::Bits) * width) Words {
  using Bits = typename Number::Bits;
  using Word = std::conditional_t<sizeof(Bits) * width == 2, uint16_t, uint32_t>;
  static constexpr int kEach = sizeof(Word) / sizeof(Bits);
  Word words[width / kEach];

  __device__ __forceinline__ float get(int k) const {
    return to_float<Number>(static_cast<Bits>(words[k / kEach] >> k % kEach * 16));
  }
  __device__ __forceinline__ void set(int k, Bits bits) {  // the lower half of a word is set first
    words[k / kEach] = k % kEach == 0 ? bits : words[k / kEach] | static_cast<Word>(bits) << 16;
  }
};

}  // namespace lape
