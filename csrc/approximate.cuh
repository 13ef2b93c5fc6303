// Instructions without a C++ name. The emulation of the kernels on a CPU replaces this file.
#pragma once

namespace lape {

// 1 / x within 1 ulp; subnormal operands and results are zero.
__device__ __forceinline__ float approximate_reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// 2^x within a relative 2^-22; subnormal operands and results are zero.
__device__ __forceinline__ float approximate_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace lape
