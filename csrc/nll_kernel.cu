// lape::token_nll on CUDA. Each thread block has one row, keeps a running maximum and sum, and reads the
// logits once.
#include <cmath>

#include "pack.cuh"

namespace lape {
namespace {

constexpr int kThreads = 256;
constexpr int kBlocks = 5;  // thread blocks on a multiprocessor: while one waits for its row the others work
constexpr int kWarp = 32;
constexpr int kValues = 16;  // values that a thread takes before it looks at its maximum

// The sum of exp(x - maximum) is float64, since a thread may add thousands of values to one that dominates.
struct Running {
  float maximum;
  double sum;
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

template <typename Number, int width>
__global__ void __launch_bounds__(kThreads, kBlocks)
    row_nll(const typename Number::Bits* __restrict__ logits, Rows rows, const int64_t* __restrict__ target,
            double* __restrict__ nll) {
  using Values = Pack<typename Number::Bits, width>;
  constexpr int kPacks = kValues / width;
  const float infinity = as_float(0x7f800000u);
  const auto* row = logits + rows.offset(blockIdx.x);
  Running mine{-infinity, 0.0};

  for (int64_t first = 0; first < rows.columns; first += kThreads * kValues) {
    float values[kValues];
    float high = mine.maximum;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int64_t column = first + (p * kThreads + threadIdx.x) * width;
      const bool inside = column < rows.columns;
      Values pack;
      if (inside) pack = *reinterpret_cast<const Values*>(row + column);
#pragma unroll
      for (int k = 0; k < width; ++k) {
        const float value = inside ? Number::to_float(pack.values[k]) : -infinity;
        values[p * width + k] = value;
        high = value > high ? value : high;  // false for NaN, which makes the sum NaN
      }
    }
    if (high > mine.maximum) {
      mine.sum *= expf(mine.maximum - high);
      mine.maximum = high;
    }
    // At an infinite maximum x - maximum would be NaN. Without a shift -inf gives 0 and +inf gives +inf.
    const float shift = isinf(mine.maximum) ? 0.0f : mine.maximum;
    float part = 0.0f;
#pragma unroll
    for (int k = 0; k < kValues; ++k) part += __expf(values[k] - shift);
    mine.sum += part;
  }

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
  constexpr int width = 16 / sizeof(typename Number::Bits);  // 16 bytes, the widest load
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
