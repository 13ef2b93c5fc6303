// lape::activation_stats on the CPU.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>

#include "arguments.h"
#include "simd.h"

namespace lape {
namespace {

constexpr int kRows = 8;                      // rows added per pass over a strip
constexpr int64_t kStrip = 1024;              // columns whose sums stay in the first-level cache
constexpr int64_t kGrain = int64_t{1} << 15;  // elements below which another thread does not pay

// Adds `number` rows of `columns` values. A column's sum runs over its rows in order, on top of what
// `total` holds: its bits depend neither on threads nor on how the rows were split into calls.
template <typename Format, int number>
struct AddRows {
  using Bits = typename Format::Bits;
  static LAPE_INLINE void run(const Bits* const* rows, int64_t columns, int64_t* __restrict__ count,
                              double* __restrict__ total) {
    const Bits* row[number];
    for (int r = 0; r < number; ++r) row[r] = rows[r];
    for (int64_t c = 0; c < columns; ++c) {
      double sum = total[c];
      uint32_t hits = 0;  // GCC 12 miscounts float16 in 16 bits when it vectorises for AVX2
#pragma GCC unroll 8
      for (int r = 0; r < number; ++r) {
        sum += static_cast<double>(Format::to_float(row[r][c]));
        hits += is_positive<Format>(row[r][c]);
      }
      total[c] = sum;
      count[c] += hits;
    }
  }
};

template <typename Format>
void add(const at::Tensor& x, const Rows& rows, int64_t* count, double* total) {
  using Bits = typename Format::Bits;
  const auto* values = static_cast<const Bits*>(x.const_data_ptr());
  const Simd level = simd_level();
  const int64_t number = rows.number();
  const int64_t grain = std::max<int64_t>(64, kGrain / number);
  at::parallel_for(0, rows.columns, grain, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kStrip) {
      const int64_t columns = std::min(kStrip, end - first);
      for (int64_t r = 0; r < number;) {
        const int64_t together = number - r >= kRows ? kRows : 1;
        const Bits* pointers[kRows];
        for (int64_t k = 0; k < together; ++k) pointers[k] = values + rows.offset(r + k) + first;
        if (together == kRows) {
          run_simd<AddRows<Format, kRows>>(level, pointers, columns, count + first, total + first);
        } else {
          run_simd<AddRows<Format, 1>>(level, pointers, columns, count + first, total + first);
        }
        r += together;
      }
    }
  });
}

void activation_stats(const at::Tensor& x, at::Tensor count, at::Tensor total) {
  check_statistics(x, count, total);
  if (x.numel() == 0) return;
  const auto [readable, rows] = as_rows(x);
  auto* counts = count.mutable_data_ptr<int64_t>();
  auto* totals = total.mutable_data_ptr<double>();
  switch (x.scalar_type()) {
    case at::kFloat:
      return add<Float32>(readable, rows, counts, totals);
    case at::kBFloat16:
      return add<BFloat16>(readable, rows, counts, totals);
    default:
      return add<Float16>(readable, rows, counts, totals);
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(lape, CPU, library) { library.impl("activation_stats", activation_stats); }

}  // namespace lape
