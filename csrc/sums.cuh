// The first pass of the statistics. A thread block adds up one block of rows in a strip of columns. A Source
// reads or computes the values.
#pragma once

#include "pack.cuh"

namespace lape {

constexpr int kLanes = 32;
constexpr int kWarps = 8;
constexpr int kCounterBits = 6;  // bits of a thread's counter: a word holds five, and none passes kLanes
static_assert(kMaxRowBlock / kWarps <= kLanes && kLanes < 1 << kCounterBits &&
              (1 + kMaxThresholds) * kCounterBits <= 32);
constexpr int kThreads = kLanes * kWarps;

// The rows of one block: `number` rows from `first` on in the order of the rows, all of one group.
struct Span {
  int64_t group, first;
  int number;
};

__device__ __forceinline__ Span span_of(int64_t block, int64_t rows, int64_t groups,
                                        const Partials& partials) {
  const int size = partials.row_block;
  if (partials.order == nullptr) {
    return {0, block * size, static_cast<int>(min(static_cast<int64_t>(size), rows - block * size))};
  }
  for (int64_t group = 0; group <= groups; ++group) {
    const int32_t found = partials.found[group];
    const int32_t blocks = (found + size - 1) / size;
    if (block < blocks) {
      const int32_t first = static_cast<int32_t>(block) * size;
      return {group, group * rows + first, min(size, found - first)};
    }
    block -= blocks;
  }
  return {groups, 0, 0};
}

// The sums of a thread for its columns. A value has at most 24 bits, so that its square is exact in float64.
template <int width>
struct Tally {
  double total[width] = {}, square[width] = {};
  // The lowest counter counts values above zero, the others values above the thresholds.
  uint32_t hits[width] = {};

  __device__ __forceinline__ void add(const float (&values)[width], const Sums& sums) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const double value = values[k];
      total[k] += value;
      square[k] = fma(value, value, square[k]);
      hits[k] += values[k] > 0.0f;
    }
#pragma unroll
    for (int t = 0; t < kMaxThresholds; ++t) {
      if (t >= sums.thresholds) continue;
      const uint32_t one = 1u << (t + 1) * kCounterBits;
#pragma unroll
      for (int k = 0; k < width; ++k) hits[k] += values[k] > sums.threshold[t] ? one : 0u;
    }
  }
};

// Adds up the tallies of the warps in order, and writes those of the columns from `strip` on.
template <int width>
__device__ __forceinline__ void write_partials(const Tally<width>& tally, int64_t block, int strip,
                                               int64_t columns, int thresholds, const Partials& partials) {
  constexpr int kColumns = kLanes * width;
  __shared__ double total[kWarps][kColumns], square[kWarps][kColumns];
  __shared__ uint32_t hits[kWarps][kColumns];
  const int warp = threadIdx.x / kLanes, first = threadIdx.x % kLanes * width;
#pragma unroll
  for (int k = 0; k < width; ++k) {
    total[warp][first + k] = tally.total[k];
    square[warp][first + k] = tally.square[k];
    hits[warp][first + k] = tally.hits[k];
  }
  __syncthreads();
  for (int c = threadIdx.x; c < kColumns && strip + c < columns; c += kThreads) {
    double total_here = 0, square_here = 0;
    uint32_t hits_here[1 + kMaxThresholds] = {};
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      total_here += total[w][c];
      square_here += square[w][c];
#pragma unroll
      for (int t = 0; t <= kMaxThresholds; ++t)
        hits_here[t] += hits[w][c] >> t * kCounterBits & ((1u << kCounterBits) - 1);
    }
    partials.total[block * columns + strip + c] = total_here;
    partials.square[block * columns + strip + c] = square_here;
    uint16_t* place = partials.hits + block * (1 + thresholds) * columns + strip + c;
#pragma unroll
    for (int t = 0; t <= kMaxThresholds; ++t) {
      if (t <= thresholds) place[t * columns] = static_cast<uint16_t>(hits_here[t]);
    }
  }
}

// A Source has
// - `width`, the number of values that a thread reads at once;
// - `batch`, the number of rows that a thread reads before it uses the first;
// - `writes`, whether it writes a result, so that it must see the rows of no group too;
// - Place, the place of a row, which one lane finds once;
// - load(place, lane, column) and use(loaded, place, lane, column, inside, values), for the row whose place
//   that lane has.
template <typename Source>
__global__ void __launch_bounds__(kThreads, 2)
    sum_row_blocks(const Source source, int64_t rows, int64_t columns, const int64_t* __restrict__ group,
                   const Sums sums, const Partials partials) {
  constexpr int width = Source::width, batch = Source::batch;
  const auto strips = static_cast<unsigned>((columns + kLanes * width - 1) / (kLanes * width));
  const int64_t block = blockIdx.x / strips;
  const int strip = static_cast<int>(blockIdx.x % strips) * (kLanes * width);
  const Span span = span_of(block, rows, sums.groups, partials);
  const bool of_none = span.group == sums.groups;
  if (span.number == 0 || (of_none && !Source::writes)) return;

  // A warp has at most as many rows as lanes, so that each lane looks up one row.
  const int depth = partials.row_block / kWarps;
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const int number = min(depth, span.number - warp * depth);
  const int64_t mine = span.first + min(warp * depth + lane, span.number - 1);
  const int32_t row = partials.order == nullptr ? static_cast<int32_t>(mine) : partials.order[mine];
  const typename Source::Place place = source.place(row);
  const bool counts = partials.order != nullptr ? !of_none : group == nullptr || group[row] == 0;
  const unsigned counted = __ballot_sync(0xffffffffu, lane < number && counts);

  // A thread past the last column reads what another thread reads, and writes nothing.
  const bool inside = strip + lane * width < columns;
  const int column = inside ? strip + lane * width : static_cast<int>(columns) - width;
  Tally<width> tally;
  for (int first = 0; first < number; first += batch) {
    typename Source::Loaded loaded[batch];
#pragma unroll
    for (int i = 0; i < batch; ++i) loaded[i] = source.load(place, min(first + i, number - 1), column);
#pragma unroll
    for (int i = 0; i < batch; ++i) {
      const bool counts_here = counted >> (first + i) & 1;
      if (!(counts_here || (Source::writes && first + i < number))) continue;
      float values[width];
      source.use(loaded[i], place, first + i, column, inside, values);
      if (counts_here) tally.add(values, sums);
    }
  }
  if (of_none) return;
  __shared__ int taken[kWarps];
  if (lane == 0) taken[warp] = __popc(counted);
  write_partials(tally, block, strip, columns, sums.thresholds, partials);
  if (strip != 0 || threadIdx.x != 0) return;
  int all = 0;
  for (int w = 0; w < kWarps; ++w) all += taken[w];
  partials.taken[block] = all;
}

template <typename Source>
void launch_sums(const Source& source, const Rows& rows, const int64_t* group, const Sums& sums,
                 const Partials& partials, cudaStream_t stream) {
  if (partials.order != nullptr) launch_sort_rows(group, rows.number(), sums.groups, partials, stream);
  const int64_t strips = divide_up(rows.columns, kLanes * Source::width);
  sum_row_blocks<<<static_cast<unsigned>(partials.blocks * strips), kThreads, 0, stream>>>(
      source, rows.number(), rows.columns, group, sums, partials);
  launch_add_partials(rows.columns, sums, partials, stream);
}

}  // namespace lape
