// In place of csrc/approximate.cuh: the results are rounded to nearest, and subnormals are zero.
#pragma once

#include "cuda_runtime_api.h"

namespace lape {

inline float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }
inline float approximate_reciprocal(float x) { return flushed(1.0f / flushed(x)); }
inline float approximate_exp2(float x) { return flushed(exp2f(flushed(x))); }

}  // namespace lape
