// The loop that adds rows of activations to the statistics, on the CPU.
#pragma once

#include <c10/util/Exception.h>

#include <algorithm>

#include "avx2.h"
#include "sums.h"

namespace lape {

constexpr int kRows = 8;          // rows added per pass over a strip
constexpr int64_t kStrip = 1024;  // columns whose sums stay in the first-level cache
constexpr int64_t kPart = 64;     // columns of a strip that are fetched at a time

// Fetches what lies `ahead` of some columns of rows. A strip's rows are too short for the processor to fetch
// them ahead by itself.
template <int number, typename Bits>
LAPE_INLINE void fetch(const Bits* const* row, int64_t first, int64_t columns, int64_t ahead) {
  for (int r = 0; r < number; ++r) {
    for (int64_t c = 0; c < columns; c += 64 / sizeof(Bits)) __builtin_prefetch(row[r] + first + c + ahead);
  }
}

// Adds `number` rows of `columns` values. A column's sum runs over its rows in order and starts from the sum
// so far. Its bits therefore depend neither on threads nor on how the rows are split into calls. The square
// of a float32 is exact in float64, so that a fused multiply-add changes no bit. Unless it is 0, what lies
// `ahead` of the values is fetched meanwhile.
template <typename Format, int number>
struct AddRows {
  using Bits = typename Format::Bits;
  static LAPE_INLINE void run(const Bits* const* rows, int64_t columns, int64_t ahead,
                              int64_t* __restrict__ count, double* __restrict__ total,
                              double* __restrict__ square) {
    const Bits* row[number];
    for (int r = 0; r < number; ++r) row[r] = rows[r];
    // The conversion of a 16-bit format takes longer than the memory. Short parts would only slow it down.
    if (ahead == 0 || sizeof(Bits) == 2) return add(row, 0, columns, count, total, square);
    for (int64_t first = 0; first < columns; first += kPart) {
      const int64_t size = std::min(kPart, columns - first);
      fetch<number>(row, first, size, ahead);
      add(row, first, first + size, count, total, square);
    }
  }
#ifdef LAPE_X86
  static LAPE_AVX2_INLINE void avx2(const Bits* const* rows, int64_t columns, int64_t ahead, int64_t* count,
                                    double* total, double* square) {
    constexpr int kLine = 64 / sizeof(Bits);  // columns: two vectors
    const Bits* row[number];
    for (int r = 0; r < number; ++r) row[r] = rows[r];
    int64_t c = 0;
    for (; c + kLine <= columns; c += kLine) {
      fetch<number>(row, c, kLine, ahead);
      for (int64_t k = c; k < c + kLine; k += kVector<Format>) {
        add_vector(row, k, count + k, total + k, square + k);
      }
    }
    for (int r = 0; r < number; ++r) row[r] += c;
    run(row, columns - c, 0, count + c, total + c, square + c);
  }

  // Adds kVector columns from `first` on. Their sums stay in registers, and hits are counted in as few bits
  // as a value has.
  static LAPE_AVX2_INLINE void add_vector(const Bits* const* row, int64_t first, int64_t* count,
                                          double* total, double* square) {
    constexpr int kFours = kVector<Format> / 4;
    __m256d sum[kFours], squares[kFours], value[kFours];
    for (int k = 0; k < kFours; ++k) sum[k] = _mm256_loadu_pd(total + 4 * k);
    for (int k = 0; k < kFours; ++k) squares[k] = _mm256_loadu_pd(square + 4 * k);
    __m256i hits = _mm256_setzero_si256();
    // GCC would convert all rows of an unrolled loop first, and have no registers for them.
#pragma GCC unroll 1
    for (int r = 0; r < number; ++r) {
      load_doubles<Format>(row[r] + first, value);
      for (int k = 0; k < kFours; ++k) sum[k] = _mm256_add_pd(sum[k], value[k]);
      for (int k = 0; k < kFours; ++k) squares[k] = _mm256_fmadd_pd(value[k], value[k], squares[k]);
      hits = subtract<Format>(hits, positive<Format>(load_bits(row[r] + first)));
    }
    for (int k = 0; k < kFours; ++k) _mm256_storeu_pd(total + 4 * k, sum[k]);
    for (int k = 0; k < kFours; ++k) _mm256_storeu_pd(square + 4 * k, squares[k]);
    add_counts<Format>(hits, count);
  }
#endif

 private:
  static LAPE_INLINE void add(const Bits* const* row, int64_t first, int64_t last,
                              int64_t* __restrict__ count, double* __restrict__ total,
                              double* __restrict__ square) {
    for (int64_t c = first; c < last; ++c) {
      double sum = total[c], squares = square[c];
      uint32_t hits = 0;  // GCC 12 miscounts float16 in 16 bits when it vectorises for AVX2
#pragma GCC unroll 8
      for (int r = 0; r < number; ++r) {
        const auto value = static_cast<double>(Format::to_float(row[r][c]));
        sum += value;
        squares += value * value;
        hits += is_positive<Format>(row[r][c]);
      }
      total[c] = sum;
      square[c] = squares;
      count[c] += hits;
    }
  }
};

template <typename Format, int number>
struct AddAbove {
  using Bits = typename Format::Bits;
  static LAPE_INLINE void run(const Bits* const* rows, int64_t columns, float threshold,
                              int64_t* __restrict__ above) {
    const Bits* row[number];
    for (int r = 0; r < number; ++r) row[r] = rows[r];
    for (int64_t c = 0; c < columns; ++c) {
      uint32_t hits = 0;
#pragma GCC unroll 8
      for (int r = 0; r < number; ++r) hits += Format::to_float(row[r][c]) > threshold;
      above[c] += hits;
    }
  }
};

// Takes the rows of a strip of columns one by one, and adds kRows rows of one group at a time.
template <typename Format>
class Strip {
 public:
  using Bits = typename Format::Bits;

  // The strip is the columns from `first` on; `width` is the number of columns of all strips. Mostly, kRows
  // rows later the same columns lie `ahead` in memory. It is 0 where rows are in the cache already.
  Strip(const Sums& sums, int64_t first, int64_t columns, int64_t width, int64_t ahead = 0)
      : sums_(sums), level_(simd_level()), first_(first), columns_(columns), width_(width), ahead_(ahead) {}

  // `row` points at the strip's first value. It must stay valid until `finish`, or until kRows more rows.
  void add(const Bits* row, int64_t group) {
    if (group < 0) return;
    if (group != group_) finish();
    group_ = group;
    rows_[held_++] = row;
    if (held_ == kRows) flush<kRows>(rows_);
  }

  void finish() {
    const int held = held_;
    for (int r = 0; r < held; ++r) flush<1>(rows_ + r);
  }

 private:
  template <int number>
  void flush(const Bits* const* rows) {
    const int64_t at = group_ * width_ + first_;
    run_simd<AddRows<Format, number>>(level_, rows, columns_, ahead_, sums_.count + at, sums_.total + at,
                                      sums_.square + at);
    for (int k = 0; k < sums_.thresholds; ++k) {
      run_simd<AddAbove<Format, number>>(level_, rows, columns_, sums_.threshold[k],
                                         sums_.above + k * sums_.groups * width_ + at);
    }
    held_ = 0;
  }

  const Sums& sums_;
  const Simd level_;
  const int64_t first_, columns_, width_, ahead_;
  const Bits* rows_[kRows];
  int held_ = 0;
  int64_t group_ = 0;
};

// Counts the rows of each group. Where `group` is null, all rows are of group 0.
inline void add_group_rows(const int64_t* group, int64_t number, const Sums& sums) {
  if (group == nullptr) {
    sums.rows[0] += number;
    return;
  }
  for (int64_t r = 0; r < number; ++r) {
    TORCH_CHECK(group[r] < sums.groups, "group ", group[r], " of row ", r, " is not below ", sums.groups);
  }
  for (int64_t r = 0; r < number; ++r) {
    if (group[r] >= 0) ++sums.rows[group[r]];
  }
}

}  // namespace lape
