// float16 and its pairs, with the compiler's own half-precision type. A number is rounded once, from its
// exact value.
#pragma once

#include "cuda_runtime_api.h"

using __half = _Float16;

struct __half2 {
  __half x, y;
};

inline __half __ushort_as_half(uint16_t bits) {
  __half value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float __half2float(__half value) { return static_cast<float>(value); }

inline __half2 __floats2half2_rn(float low, float high) {
  return {static_cast<__half>(low), static_cast<__half>(high)};
}

inline __half2 __hmul2_rn(__half2 a, __half2 b) {  // the product is exact in float64
  return {static_cast<__half>(static_cast<double>(a.x) * static_cast<double>(b.x)),
          static_cast<__half>(static_cast<double>(a.y) * static_cast<double>(b.y))};
}

inline unsigned __hgt2_mask(__half2 a, __half2 b) {
  return (a.x > b.x ? 0xffffu : 0u) | (a.y > b.y ? 0xffff0000u : 0u);
}

inline __half2 __hmax2_nan(__half2 a, __half2 b) {
  const auto larger = [](__half x, __half y) {
    if (x != x || y != y) return __ushort_as_half(0x7fff);
    return x > y || (x == y && !signbit(static_cast<float>(x))) ? x : y;
  };
  return {larger(a.x, b.x), larger(a.y, b.y)};
}
