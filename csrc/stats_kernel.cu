// lape::activation_stats on CUDA, and the parts that lape::glu_stats shares with it. Sums run over blocks of
// rows, and then over the blocks, both in a fixed order.
#include "sums.cuh"

namespace lape {
namespace {

constexpr int kSortThreads = 1024;
constexpr int kSlices = 16;  // threads that share a column in the second pass

template <typename Number_, int width_>
struct Activations {
  using Number = Number_;
  static constexpr int width = width_, batch = kFold;
  static constexpr bool writes = false;
  using Loaded = Words<Number, width>;
  const typename Number::Bits* x;
  Rows rows;

  using Place = const typename Number::Bits*;
  __device__ __forceinline__ Place place(int32_t row) const { return x + row_start(rows, row); }
  __device__ __forceinline__ Loaded load(Place place, int column) const {
    return Loaded::read(place + column);
  }
  __device__ __forceinline__ Loaded use(const Loaded& loaded, Place, int, bool) const { return loaded; }
};

// Thread block g lists the rows of group g in order. The last thread block lists the rows of no group.
__global__ void __launch_bounds__(kSortThreads)
    sort_rows(const int64_t* __restrict__ group, int64_t rows, int64_t groups, int32_t* __restrict__ found,
              int32_t* __restrict__ order) {
  __shared__ int counts[kSortThreads / kLanes];
  const int64_t wanted = blockIdx.x;
  const unsigned warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  int before = 0;  // rows listed in the passes so far
  for (int64_t first = 0; first < rows; first += kSortThreads) {
    const int64_t row = first + threadIdx.x;
    const int64_t its = row < rows ? group[row] : groups;
    const bool mine = row < rows && (its < 0 || its > groups ? groups : its) == wanted;
    const unsigned others = __ballot_sync(0xffffffffu, mine);
    if (lane == 0) counts[warp] = __popc(others);
    const int all = __syncthreads_count(mine);
    int place = before + __popc(others & ((1u << lane) - 1));
    for (unsigned w = 0; w < warp; ++w) place += counts[w];
    if (mine) order[wanted * rows + place] = static_cast<int32_t>(row);
    before += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) found[wanted] = before;
}

// Thread (lane, slice) adds every kSlices-th block of its column and group. The first slice then adds up the
// slices.
__global__ void __launch_bounds__(kLanes* kSlices)
    add_partials(int64_t columns, const Sums sums, const Partials partials) {
  constexpr int kCounters = 2 + kMaxThresholds;  // rows, above zero, above the thresholds
  __shared__ double shared_total[kSlices][kLanes], shared_square[kSlices][kLanes];
  __shared__ int shared_hits[kCounters][kSlices][kLanes];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kLanes + threadIdx.x;
  const int64_t group = blockIdx.y;
  int64_t begin = 0, end = partials.blocks;
  if (partials.order != nullptr) {
    for (int64_t g = 0; g <= group; ++g) {
      begin = g == 0 ? 0 : end;
      end = begin + (partials.found[g] + partials.row_block - 1) / partials.row_block;
    }
  }
  double total = 0, square = 0;
  int hits[kCounters] = {};
  if (column < columns) {
#pragma unroll 4
    for (int64_t block = begin + threadIdx.y; block < end; block += kSlices) {
      total += partials.total[block * columns + column];
      square += partials.square[block * columns + column];
      hits[0] += partials.taken[block];
      const uint16_t* place = partials.hits + block * (1 + sums.thresholds) * columns + column;
#pragma unroll
      for (int t = 0; t <= kMaxThresholds; ++t) {
        if (t <= sums.thresholds) hits[1 + t] += place[t * columns];
      }
    }
  }
  shared_total[threadIdx.y][threadIdx.x] = total;
  shared_square[threadIdx.y][threadIdx.x] = square;
#pragma unroll
  for (int t = 0; t < kCounters; ++t) shared_hits[t][threadIdx.y][threadIdx.x] = hits[t];
  __syncthreads();
  if (threadIdx.y != 0 || column >= columns) return;
  for (int slice = 1; slice < kSlices; ++slice) {
    total += shared_total[slice][threadIdx.x];
    square += shared_square[slice][threadIdx.x];
#pragma unroll
    for (int t = 0; t < kCounters; ++t) hits[t] += shared_hits[t][slice][threadIdx.x];
  }
  const int64_t place = group * columns + column;
  sums.total[place] += total;
  sums.square[place] += square;
  sums.count[place] += hits[1];
#pragma unroll
  for (int t = 0; t < kMaxThresholds; ++t) {
    if (t < sums.thresholds) sums.above[t * sums.groups * columns + place] += hits[2 + t];
  }
  if (column == 0) sums.rows[group] += hits[0];
}

template <typename Number>
void launch(const void* x, const Rows& rows, const int64_t* group, const Sums& sums, const Partials& partials,
            cudaStream_t stream) {
  using Bits = typename Number::Bits;
  constexpr int width = kFullWidth<Number>;
  // The width changes which thread has a column, but not the order of the column's sum.
  if (packs<Bits, width>(x, rows)) {
    const Activations<Number, width> source{static_cast<const Bits*>(x), rows};
    launch_sums(source, rows, group, sums, partials, stream);
  } else {
    const Activations<Number, 1> source{static_cast<const Bits*>(x), rows};
    launch_sums(source, rows, group, sums, partials, stream);
  }
}

}  // namespace

void launch_sort_rows(const int64_t* group, int64_t rows, int64_t groups, const Partials& partials,
                      cudaStream_t stream) {
  sort_rows<<<static_cast<unsigned>(groups + 1), kSortThreads, 0, stream>>>(group, rows, groups,
                                                                            partials.found, partials.order);
}

void launch_add_partials(int64_t columns, const Sums& sums, const Partials& partials, cudaStream_t stream) {
  const int64_t groups = partials.order == nullptr ? 1 : sums.groups;
  const dim3 grid(static_cast<unsigned>(divide_up(columns, kLanes)), static_cast<unsigned>(groups));
  add_partials<<<grid, dim3(kLanes, kSlices), 0, stream>>>(columns, sums, partials);
}

void launch_activation_stats(Format format, const void* x, const Rows& rows, const int64_t* group,
                             const Sums& sums, const Partials& partials, cudaStream_t stream) {
  switch (format) {
    case Format::float32:
      return launch<Float32>(x, rows, group, sums, partials, stream);
    case Format::bfloat16:
      return launch<BFloat16>(x, rows, group, sums, partials, stream);
    case Format::float16:
      return launch<Float16>(x, rows, group, sums, partials, stream);
  }
}

}  // namespace lape
