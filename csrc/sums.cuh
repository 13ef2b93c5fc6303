// The first pass of the statistics. A thread block adds up one block of rows in a strip of columns. A Source
// reads or computes the values.
#pragma once

#include "pack.cuh"

namespace lape {

constexpr int kLanes = 32;
constexpr int kWarps = 8;
constexpr int kThreads = kLanes * kWarps;
constexpr int kFold = 8;  // rows whose values are added in float32 before their sum joins the float64 sum
static_assert(kMaxRowBlock / kWarps <= kLanes && kMaxRowBlock < 1 << 16);

// What a value is compared with: word 0 is zero, and word 1 + t is threshold t in both halves.
struct Limits {
  int64_t groups;
  int thresholds;
  uint32_t word[1 + kMaxThresholds];
};

// A value of the format is above a threshold where it is above the largest number of the format that is not
// above the threshold.
template <typename Number>
Limits limits_of(const Sums& sums) {
  Limits limits{sums.groups, sums.thresholds, {}};
  for (int t = 0; t < sums.thresholds; ++t) {
    uint32_t bits = Number::from_float(sums.threshold[t]);
    constexpr uint32_t kSign = 0x8000;  // of 16-bit formats; a float32 is equal to its threshold
    if (Number::to_float(bits) > sums.threshold[t]) bits = bits & kSign ? bits + 1 : bits - 1;
    limits.word[1 + t] = kEach<Number> == 1 ? bits : bits << 16 | bits;
  }
  return limits;
}

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

// A thread block's counts of values above zero (the first) and above the thresholds, in shared memory. A word
// counts for the columns of a word of values. Masks are subtracted from it. The mask of the lower half is
// 65535, and that of the upper half is -65536. Hence the lower half of the word is the lower column's count,
// and the upper half is the difference of the counts.
template <typename Number, int width>
struct Hits {
  static constexpr int kWords = Words<Number, width>::number;
  uint32_t words[1 + kMaxThresholds][kLanes * kWords];

  __device__ __forceinline__ void clear(int thresholds) {
    for (int t = 0; t <= thresholds; ++t)
      for (int j = threadIdx.x; j < kLanes * kWords; j += kThreads) words[t][j] = 0;
  }
  __device__ __forceinline__ void add(int t, const uint32_t (&mine)[kWords]) {
#pragma unroll
    for (int j = 0; j < kWords; ++j) atomicAdd(&words[t][threadIdx.x % kLanes * kWords + j], mine[j]);
  }
  __device__ __forceinline__ uint16_t of_column(int t, int c) const {
    const uint32_t word = words[t][c / width * kWords + c % width / kEach<Number>];
    return static_cast<uint16_t>(c % width % kEach<Number> == 0 ? word : (word >> 16) + word);
  }
};

// A value has at most 24 bits, so that its square is exact in float64.
__device__ __forceinline__ void add_exactly(float value, double& total, double& square) {
  const double wide = value;
  total += wide;
  square = fma(wide, wide, square);
}

// The sums of a thread for its columns.
//
// Values of 16-bit formats are added in float32, at most kFold of them before the sum joins a float64 sum.
// Their squares are exact in float32, except that bfloat16 squares below 2^-126 are rounded to a multiple of
// 2^-149. Of the kFold additions all but the first round. Hence a sum is off by at most 2^-21 of the sum of
// its absolute terms, and a sum of bfloat16 squares by 2^-150 per row besides. A sum of bfloat16 squares may
// overflow; `fits` tells. Values of float32 have 24 bits. They are added in float64, where their squares are
// exact.
template <typename Number, int width>
struct Tally {
  using Values = Words<Number, width>;
  static constexpr bool kShort = kEach<Number> == 2;
  double total[width] = {}, square[width] = {};
  float total_part[width], square_part[width];
  uint32_t hits[Values::number] = {};  // counts of values above zero, as in Hits

  // Before the first of kFold rows. Minus zero changes no value that is added to it.
  __device__ __forceinline__ void begin() {
#pragma unroll
    for (int k = 0; k < width; ++k) total_part[k] = square_part[k] = -0.0f;
  }

  // After the last of kFold rows.
  __device__ __forceinline__ void end() {
    if constexpr (kShort) {
#pragma unroll
      for (int k = 0; k < width; ++k) {
        total[k] += total_part[k];
        square[k] += square_part[k];
      }
    }
  }

  // Adds the rows whose bit is set in `taken`. Counts of values above thresholds are in shared memory, since
  // few runs have thresholds.
  template <int number>
  __device__ __forceinline__ void add(const Values (&rows)[number], unsigned taken, const Limits& limits,
                                      Hits<Number, width>& above) {
    if (taken == (1u << number) - 1) {
      add_taken<true>(rows, taken);
    } else {
      add_taken<false>(rows, taken);
    }
    for (int t = 1; t <= limits.thresholds; ++t) {
      uint32_t found[Values::number] = {};
#pragma unroll
      for (int i = 0; i < number; ++i) {
        if (!(taken >> i & 1)) continue;
#pragma unroll
        for (int j = 0; j < Values::number; ++j)
          found[j] -= mask_above<Number>(rows[i].words[j], limits.word[t]);
      }
      above.add(t, found);
    }
  }

  // Whether no float32 sum of column k has overflowed. A total overflows only where the squares do.
  __device__ __forceinline__ bool fits(int k) const { return square[k] < as_float(0x7f800000u); }

 private:
  template <bool all, int number>
  __device__ __forceinline__ void add_taken(const Values (&rows)[number], unsigned taken) {
#pragma unroll
    for (int i = 0; i < number; ++i) {
      if (!all && !(taken >> i & 1)) continue;
#pragma unroll
      for (int k = 0; k < width; ++k) {
        const float value = rows[i].get(k);
        if constexpr (kShort && all && number == kFold) {  // the first row need not be added to zero
          total_part[k] = i == 0 ? value : total_part[k] + value;
          square_part[k] = i == 0 ? value * value : fmaf(value, value, square_part[k]);
        } else if constexpr (kShort) {
          total_part[k] += value;
          square_part[k] = fmaf(value, value, square_part[k]);
        } else {
          add_exactly(value, total[k], square[k]);
        }
      }
#pragma unroll
      for (int j = 0; j < Values::number; ++j) hits[j] -= mask_above<Number>(rows[i].words[j], 0);
    }
  }
};

// Adds up the tallies of the warps in order, and writes those of the columns from `strip` on.
template <typename Number, int width>
__device__ __forceinline__ void write_partials(const Tally<Number, width>& tally, Hits<Number, width>& hits,
                                               int64_t block, int strip, int64_t columns, int thresholds,
                                               const Partials& partials) {
  constexpr int kColumns = kLanes * width;
  __shared__ double total[kWarps][kColumns], square[kWarps][kColumns];
  const int warp = threadIdx.x / kLanes, first = threadIdx.x % kLanes * width;
#pragma unroll
  for (int k = 0; k < width; ++k) {
    total[warp][first + k] = tally.total[k];
    square[warp][first + k] = tally.square[k];
  }
  hits.add(0, tally.hits);
  __syncthreads();
  for (int c = threadIdx.x; c < kColumns && strip + c < columns; c += kThreads) {
    double total_here = 0, square_here = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      total_here += total[w][c];
      square_here += square[w][c];
    }
    partials.total[block * columns + strip + c] = total_here;
    partials.square[block * columns + strip + c] = square_here;
    uint16_t* place = partials.hits + block * (1 + thresholds) * columns + strip + c;
    for (int t = 0; t <= thresholds; ++t) place[t * columns] = hits.of_column(t, c);
  }
}

// A Source has
// - Number and `width`, the format and the number of values that a thread reads at once;
// - `batch`, the number of rows that a thread reads before it uses the first;
// - `writes`, whether it writes a result, so that it must see the rows of no group too;
// - Place, the place of a row, which one lane finds once;
// - load(place, column), and use(loaded, place, column, inside), which writes where `inside`, and returns the
//   values that the sums are about.
template <typename Source>
__global__ void __launch_bounds__(kThreads, 2)
    sum_row_blocks(const Source source, int64_t rows, int64_t columns, const int64_t* __restrict__ group,
                   const __grid_constant__ Limits limits, const Partials partials) {
  using Sum = Tally<typename Source::Number, Source::width>;
  constexpr int width = Source::width, batch = Source::batch;
  const auto strips = static_cast<unsigned>((columns + kLanes * width - 1) / (kLanes * width));
  const int64_t block = blockIdx.x / strips;
  const int strip = static_cast<int>(blockIdx.x % strips) * (kLanes * width);
  const Span span = span_of(block, rows, limits.groups, partials);
  const bool of_none = span.group == limits.groups;
  if (span.number == 0 || (of_none && !Source::writes)) return;

  // A warp has at most as many rows as lanes, so that each lane looks up one row.
  __shared__ typename Source::Place places[kWarps][kLanes];
  const int depth = partials.row_block / kWarps;
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const int number = min(depth, span.number - warp * depth);
  const int64_t mine = span.first + min(warp * depth + min(lane, depth - 1), span.number - 1);
  const int32_t row = partials.order == nullptr ? static_cast<int32_t>(mine) : partials.order[mine];
  places[warp][lane] = source.place(row);
  const bool counts = partials.order != nullptr ? !of_none : group == nullptr || group[row] == 0;
  const unsigned counted = __ballot_sync(0xffffffffu, lane < number && counts);
  __shared__ Hits<typename Source::Number, width> hits;
  hits.clear(limits.thresholds);
  __syncthreads();

  // A thread past the last column reads what another thread reads, and writes nothing. A row past the last
  // row is the last row once more: it is written again, and not counted.
  const bool inside = strip + lane * width < columns;
  const int column = inside ? strip + lane * width : static_cast<int>(columns) - width;
  Sum tally;
  for (int first = 0; first < number; first += kFold) {
    tally.begin();
#pragma unroll 1
    for (int next = first; next < first + kFold; next += batch) {
      if (batch < kFold && next >= number) break;
      typename Source::Loaded loaded[batch];
#pragma unroll
      for (int i = 0; i < batch; ++i) loaded[i] = source.load(places[warp][next + i], column);
      typename Sum::Values values[batch];
#pragma unroll
      for (int i = 0; i < batch; ++i)
        values[i] = source.use(loaded[i], places[warp][next + i], column, inside);
      tally.add(values, counted >> next & ((1u << batch) - 1), limits, hits);
    }
    tally.end();
  }
  if (of_none) return;

  // Columns whose float32 sums have overflowed, or hold an infinity or a NaN, are added in float64.
  bool fits = true;
#pragma unroll
  for (int k = 0; k < width; ++k) fits = fits && tally.fits(k);
  if (Sum::kShort && !fits) {
    double total[width] = {}, square[width] = {};
#pragma unroll 1
    for (int i = 0; i < number; ++i) {
      if (!(counted >> i & 1)) continue;
      const auto place = places[warp][i];
      const auto values = source.use(source.load(place, column), place, column, false);
#pragma unroll
      for (int k = 0; k < width; ++k) add_exactly(values.get(k), total[k], square[k]);
    }
#pragma unroll
    for (int k = 0; k < width; ++k) {
      if (tally.fits(k)) continue;
      tally.total[k] = total[k];
      tally.square[k] = square[k];
    }
  }

  __shared__ int taken[kWarps];
  if (lane == 0) taken[warp] = __popc(counted);
  write_partials(tally, hits, block, strip, columns, limits.thresholds, partials);
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
      source, rows.number(), rows.columns, group, limits_of<typename Source::Number>(sums), partials);
  launch_add_partials(rows.columns, sums, partials, stream);
}

}  // namespace lape
