// lape::token_nll on CUDA. Each thread block has one row, keeps a running maximum and sum, and reads the
// logits once.
#include <cmath>

#include "approximate.cuh"
#include "pack.cuh"

namespace lape {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 5;  // thread blocks on a multiprocessor: while one waits for its row the others work
constexpr int kWarp = 32;
constexpr float kLog2E = 1.44269504088896340736f;

// The sum of exp(x - maximum) over a thread's values x. It is float64, since a thread may add thousands of
// values to one that dominates. The maximum may be below the largest value, as long as no exponential is
// large.
struct Running {
  float maximum;
  double sum;
};

// Adds the exponentials of a thread's values, some at a time, to its sum.
//
// Most times the maximum stays, and exp(x - maximum) is 2^(x log2(e) - base) * scale, with base = maximum *
// log2(e) rounded to float32 and scale = 2^(base - maximum * log2(e)): one multiply-add and one exponential
// per value. A value may rise above the maximum by as much as kLarge allows, which is 11 nats. There a
// float32 exponent is off by 2^-21 at most. Hence a sum is off by a relative 2^-20 or less, a part of which
// is that of the exponential. Where an exponential is large, or base would be coarse, the values are added as
// exp(x - maximum) with their own maximum.
struct Exponentials {
  static constexpr float kLarge = 1 << 16, kFine = 1 << 20;
  Running mine;
  float base, scale;

  __device__ __forceinline__ Exponentials() : mine{-as_float(kInfinity), 0.0} { rebase(); }

  template <int number>
  __device__ __forceinline__ void add(const float (&values)[number]) {
    float part = 0.0f;
#pragma unroll
    for (int k = 0; k < number; ++k) part += approximate_exp2(__fmaf_rn(values[k], kLog2E, -base));
    if (part <= kLarge) {
      mine.sum += part * scale;
    } else {
      add_with_maximum(values);
    }
  }

 private:
  static constexpr uint32_t kInfinity = 0x7f800000u;

  // Sets base and scale. A base of minus infinity makes every sum infinite or NaN, and hence large.
  __device__ __forceinline__ void rebase() {
    const bool fine = fabsf(mine.maximum) < kFine;
    base = fine ? __fmul_rn(mine.maximum, kLog2E) : -as_float(kInfinity);
    scale = fine ? approximate_exp2(__fmaf_rn(-mine.maximum, kLog2E, base)) : 1.0f;
  }

  template <int number>
  __device__ __forceinline__ void add_with_maximum(const float (&values)[number]) {
    float high = mine.maximum;
#pragma unroll
    for (int k = 0; k < number; ++k) high = values[k] > high ? values[k] : high;  // NaN makes the sum NaN
    if (high > mine.maximum) {
      mine.sum *= expf(mine.maximum - high);
      mine.maximum = high;
      rebase();
    }
    // At an infinite maximum x - maximum would be NaN. Without a shift -inf gives 0 and +inf gives +inf.
    const float shift = isinf(high) ? 0.0f : high;
    float part = 0.0f;
#pragma unroll
    for (int k = 0; k < number; ++k) part += approximate_exp2((values[k] - shift) * kLog2E);
    mine.sum += part;
  }
};

__device__ __forceinline__ Running merge(Running a, Running b) {
  const float maximum = b.maximum > a.maximum ? b.maximum : a.maximum;
  // The difference of two equal infinities would be NaN.
  const float scale_a = a.maximum == maximum ? 1.0f : expf(a.maximum - maximum);
  const float scale_b = b.maximum == maximum ? 1.0f : expf(b.maximum - maximum);
  return {maximum, a.sum * scale_a + b.sum * scale_b};
}

__device__ __forceinline__ Running merge_warp(Running mine) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    const Running other{__shfl_xor_sync(0xffffffffu, mine.maximum, distance),
                        __shfl_xor_sync(0xffffffffu, mine.sum, distance)};
    mine = merge(mine, other);
  }
  return mine;
}

// A thread takes kPacks packs before it looks at their exponentials.
template <typename Number, int width>
__global__ void __launch_bounds__(kThreads, kBlocks)
    row_nll(const typename Number::Bits* __restrict__ logits, Rows rows, const int64_t* __restrict__ target,
            double* __restrict__ nll) {
  using Values = Words<Number, width>;
  constexpr int kPacks = width == 1 ? 16 : 4, kStride = kThreads * width;
  const float infinity = as_float(0x7f800000u);
  const auto* row = logits + rows.offset(blockIdx.x);
  const int columns = static_cast<int>(rows.columns);
  Exponentials sum;

  for (int first = threadIdx.x * width; first < columns; first += kPacks * kStride) {
    Values packs[kPacks];
    if (first + (kPacks - 1) * kStride < columns) {
#pragma unroll
      for (int p = 0; p < kPacks; ++p) packs[p] = Values::read(row + first + p * kStride);
    } else {  // past the row's end values are minus infinity
#pragma unroll
      for (int p = 0; p < kPacks; ++p)
        packs[p] =
            first + p * kStride < columns ? Values::read(row + first + p * kStride) : Values::all(-infinity);
    }
    float values[kPacks * width];
#pragma unroll
    for (int k = 0; k < kPacks * width; ++k) values[k] = packs[k / width].get(k % width);
    sum.add(values);
  }

  Running mine = sum.mine;
  __shared__ Running shared[kThreads / kWarp];
  mine = merge_warp(mine);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = mine;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  mine = merge_warp(threadIdx.x < kThreads / kWarp ? shared[threadIdx.x] : Running{-infinity, 0.0});
  if (threadIdx.x != 0) return;
  const int64_t chosen = target[blockIdx.x];
  const bool valid = chosen >= 0 && chosen < rows.columns;
  nll[blockIdx.x] = valid ? mine.maximum + log(mine.sum) - Number::to_float(row[chosen]) : nan("");
}

template <typename Number, int width>
void launch_width(const void* logits, const Rows& rows, const int64_t* target, double* nll,
                  cudaStream_t stream) {
  row_nll<Number, width><<<static_cast<unsigned>(rows.number()), kThreads, 0, stream>>>(
      static_cast<const typename Number::Bits*>(logits), rows, target, nll);
}

template <typename Number>
void launch(const void* logits, const Rows& rows, const int64_t* target, double* nll, cudaStream_t stream) {
  constexpr int width = kFullWidth<Number>;
  if (packs<typename Number::Bits, width>(logits, rows)) {
    launch_width<Number, width>(logits, rows, target, nll, stream);
  } else {
    launch_width<Number, 1>(logits, rows, target, nll, stream);
  }
}

}  // namespace

void launch_token_nll(Format format, const void* logits, const Rows& rows, const int64_t* target, double* nll,
                      cudaStream_t stream) {
  switch (format) {
    case Format::float32:
      return launch<Float32>(logits, rows, target, nll, stream);
    case Format::bfloat16:
      return launch<BFloat16>(logits, rows, target, nll, stream);
    case Format::float16:
      return launch<Float16>(logits, rows, target, nll, stream);
  }
}

}  // namespace lape
