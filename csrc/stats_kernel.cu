// lape::activation_stats on CUDA: sums over fixed blocks of rows, then over the blocks, both in a fixed
// order.
#include "pack.cuh"

namespace lape {
namespace {

constexpr int kThreads = 128;  // first pass: a thread has `width` neighbouring columns
constexpr int kLanes = 32;     // second pass: columns of a thread block
constexpr int kSlices = 16;    // second pass: threads that share a column

template <typename Number, int width>
__global__ void __launch_bounds__(kThreads, 1)
    sum_row_blocks(const typename Number::Bits* __restrict__ x, Rows rows, int64_t column_blocks,
                   int32_t* __restrict__ count_workspace, double* __restrict__ total_workspace) {
  using Values = Pack<typename Number::Bits, width>;
  const int64_t row_block = blockIdx.x / column_blocks;
  const int64_t column = (blockIdx.x % column_blocks * kThreads + threadIdx.x) * width;
  if (column >= rows.columns) return;
  const int64_t first = row_block * kRowBlock;
  const int64_t left = rows.number() - first;
  const int number = left < kRowBlock ? static_cast<int>(left) : kRowBlock;

  // A division for the first row alone: the others follow at one stride, or at the step to the next group.
  const auto* place = x + rows.offset(first) + column;
  const int64_t step = rows.outer_stride - (rows.inner - 1) * rows.inner_stride;
  int64_t inner = first % rows.inner;
  int32_t hits[width] = {};
  double sums[width] = {};
#pragma unroll 8
  for (int r = 0; r < number; ++r) {
    const Values pack = *reinterpret_cast<const Values*>(place);
    const bool last = ++inner == rows.inner;
    place += last ? step : rows.inner_stride;
    inner = last ? 0 : inner;
#pragma unroll
    for (int k = 0; k < width; ++k) {
      hits[k] += is_positive<Number>(pack.values[k]);
      sums[k] += static_cast<double>(Number::to_float(pack.values[k]));
    }
  }
  const int64_t partial = row_block * rows.columns + column;
#pragma unroll
  for (int k = 0; k < width; ++k) {
    count_workspace[partial + k] = hits[k];
    total_workspace[partial + k] = sums[k];
  }
}

// Thread (lane, slice) adds every kSlices-th row block of its column; the first slice adds the slices up.
__global__ void __launch_bounds__(kLanes* kSlices)
    sum_partials(const int32_t* __restrict__ count_workspace, const double* __restrict__ total_workspace,
                 int64_t blocks, int64_t columns, int64_t* __restrict__ count, double* __restrict__ total) {
  __shared__ int64_t shared_hits[kSlices][kLanes];
  __shared__ double shared_sums[kSlices][kLanes];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kLanes + threadIdx.x;
  int64_t hits = 0;
  double sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int64_t block = threadIdx.y; block < blocks; block += kSlices) {
      hits += count_workspace[block * columns + column];
      sum += total_workspace[block * columns + column];
    }
  }
  shared_hits[threadIdx.y][threadIdx.x] = hits;
  shared_sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int slice = 1; slice < kSlices; ++slice) {
    hits += shared_hits[slice][threadIdx.x];
    sum += shared_sums[slice][threadIdx.x];
  }
  count[column] += hits;
  total[column] += sum;
}

template <typename Number, int width>
void launch_first(const void* x, const Rows& rows, int32_t* count_workspace, double* total_workspace,
                  cudaStream_t stream) {
  const int64_t column_blocks = (rows.columns + kThreads * width - 1) / (kThreads * width);
  const auto grid = static_cast<unsigned>(column_blocks * row_blocks(rows));
  sum_row_blocks<Number, width><<<grid, kThreads, 0, stream>>>(
      static_cast<const typename Number::Bits*>(x), rows, column_blocks, count_workspace, total_workspace);
}

template <typename Number>
void launch_packed(const void* x, const Rows& rows, int32_t* count_workspace, double* total_workspace,
                   cudaStream_t stream) {
  // The width changes which thread has a column, never the order of its sum.
  if (packs<typename Number::Bits, 4>(x, rows)) {
    launch_first<Number, 4>(x, rows, count_workspace, total_workspace, stream);
  } else {
    launch_first<Number, 1>(x, rows, count_workspace, total_workspace, stream);
  }
}

}  // namespace

void launch_activation_stats(Format format, const void* x, const Rows& rows, int64_t* count, double* total,
                             int32_t* count_workspace, double* total_workspace, cudaStream_t stream) {
  switch (format) {
    case Format::float32:
      launch_packed<Float32>(x, rows, count_workspace, total_workspace, stream);
      break;
    case Format::bfloat16:
      launch_packed<BFloat16>(x, rows, count_workspace, total_workspace, stream);
      break;
    case Format::float16:
      launch_packed<Float16>(x, rows, count_workspace, total_workspace, stream);
      break;
  }
  const auto grid = static_cast<unsigned>((rows.columns + kLanes - 1) / kLanes);
  sum_partials<<<grid, dim3(kLanes, kSlices), 0, stream>>>(count_workspace, total_workspace, row_blocks(rows),
                                                           rows.columns, count, total);
}

}  // namespace lape
