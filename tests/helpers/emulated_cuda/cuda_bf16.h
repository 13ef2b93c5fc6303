// bfloat16 pairs. A number is rounded once, from its exact value; subnormals are numbers like others.
#pragma once

#include "cuda_runtime_api.h"

struct __nv_bfloat162 {
  uint16_t x, y;
};

namespace emulated {

inline float bfloat16_value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

inline uint16_t bfloat16_bits(double exact) {
  if (isnan(exact)) return 0x7fff;
  float result = static_cast<float>(exact);
  if (exact != 0 && !isinf(exact)) {
    const double unit = ldexp(1.0, (fabs(exact) < 0x1p-126 ? -126 : ilogb(exact)) - 7);
    result = static_cast<float>(copysign(nearbyint(exact / unit) * unit, exact));
  }
  uint32_t wide;
  std::memcpy(&wide, &result, sizeof(wide));
  return static_cast<uint16_t>(wide >> 16);
}

}  // namespace emulated

inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
  return {emulated::bfloat16_bits(low), emulated::bfloat16_bits(high)};
}

inline __nv_bfloat162 __hmul2_rn(__nv_bfloat162 a, __nv_bfloat162 b) {
  using emulated::bfloat16_value;
  return {emulated::bfloat16_bits(static_cast<double>(bfloat16_value(a.x)) * bfloat16_value(b.x)),
          emulated::bfloat16_bits(static_cast<double>(bfloat16_value(a.y)) * bfloat16_value(b.y))};
}

inline unsigned __hgt2_mask(__nv_bfloat162 a, __nv_bfloat162 b) {
  using emulated::bfloat16_value;
  return (bfloat16_value(a.x) > bfloat16_value(b.x) ? 0xffffu : 0u) |
         (bfloat16_value(a.y) > bfloat16_value(b.y) ? 0xffff0000u : 0u);
}

inline __nv_bfloat162 __hmax2_nan(__nv_bfloat162 a, __nv_bfloat162 b) {
  const auto larger = [](uint16_t a, uint16_t b) {
    const float x = emulated::bfloat16_value(a), y = emulated::bfloat16_value(b);
    if (isnan(x) || isnan(y)) return static_cast<uint16_t>(0x7fff);
    return x > y || (x == y && !signbit(x)) ? a : b;
  };
  return {larger(a.x, b.x), larger(a.y, b.y)};
}
