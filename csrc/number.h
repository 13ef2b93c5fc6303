// The three floating-point formats as raw bits, for the CPU and the GPU kernels. This file includes no torch
// header.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#define LAPE_INLINE __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define LAPE_INLINE inline __attribute__((always_inline))
#else
#define LAPE_INLINE inline
#endif

namespace lape {

LAPE_INLINE float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

LAPE_INLINE uint32_t as_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// A format has four things: the unsigned type that holds its bits, the bits of +infinity, an exact conversion
// to float, and a conversion from float that rounds to nearest, ties to even.
struct Float32 {
  using Bits = uint32_t;
  static constexpr Bits infinity = 0x7f800000;
  static LAPE_INLINE float to_float(Bits bits) { return as_float(bits); }
  static LAPE_INLINE Bits from_float(float value) { return as_bits(value); }
};

struct BFloat16 {
  using Bits = uint16_t;
  static constexpr Bits infinity = 0x7f80;
  static LAPE_INLINE float to_float(Bits bits) { return as_float(static_cast<uint32_t>(bits) << 16); }
  static LAPE_INLINE Bits from_float(float value) {
    const uint32_t bits = as_bits(value);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return static_cast<Bits>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
  }
};

struct Float16 {
  using Bits = uint16_t;
  static constexpr Bits infinity = 0x7c00;
  static LAPE_INLINE float to_float(Bits bits) {
    const uint32_t wide = bits;  // the compiler vectorises for AVX2 only where all arithmetic has one width
    const uint32_t exponent = wide & 0x7c00;
    // The exponent's bias moves from 15 to 127. For infinity and NaN it moves twice as far.
    const uint32_t bias = exponent == 0x7c00 ? 224u << 23 : 112u << 23;
    const uint32_t normal = ((wide & 0x7fff) << 13) + bias;
    // A subnormal half is m * 2^-24. It is put into the mantissa of 0.5, and 0.5 is subtracted. The result is
    // exact, even where the processor flushes subnormals.
    const float subnormal = as_float((126u << 23) | (wide & 0x3ff)) - 0.5f;
    const uint32_t value = exponent == 0 ? as_bits(subnormal) : normal;
    return as_float((wide & 0x8000) << 16 | value);
  }
  static LAPE_INLINE Bits from_float(float value) {
    const uint32_t bits = as_bits(value), magnitude = bits & 0x7fffffff;
    // The bias moves from 127 to 15. A carry out of the mantissa raises the exponent, up to infinity.
    const uint32_t normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
    // A value that becomes subnormal is added to 0.5, which rounds it: the last bit of 0.5 is worth the
    // smallest subnormal half.
    const uint32_t subnormal = as_bits(as_float(magnitude) + 0.5f) - (126u << 23);
    const uint32_t finite = magnitude < (113u << 23) ? subnormal : normal;
    const uint32_t large = magnitude > 0x7f800000 ? 0x7e00 : 0x7c00;  // NaN, or 65520 and above
    return static_cast<Bits>((bits >> 16 & 0x8000) | (magnitude >= 0x477ff000 ? large : finite));
  }
};

// x > 0 in the format itself. It is false for both zeros and for NaN, and true for subnormals in every
// rounding mode.
template <typename Format>
LAPE_INLINE bool is_positive(typename Format::Bits bits) {
  return static_cast<typename Format::Bits>(bits - 1) < Format::infinity;
}

}  // namespace lape
