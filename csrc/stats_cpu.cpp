// lape::activation_stats on the CPU.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include "add_rows.h"
#include "arguments.h"

namespace lape {
namespace {

constexpr int64_t kGrain = int64_t{1} << 15;  // elements below which another thread is not worth starting

template <typename Format>
void add(const at::Tensor& x, const Rows& rows, const int64_t* group, const Sums& sums) {
  const auto* values = static_cast<const typename Format::Bits*>(x.const_data_ptr());
  const int64_t number = rows.number();
  const int64_t grain = std::max<int64_t>(64, kGrain / number);
  at::parallel_for(0, rows.columns, grain, [&](int64_t begin, int64_t end) {
    for (int64_t first = begin; first < end; first += kStrip) {
      Strip<Format> strip(sums, first, std::min(kStrip, end - first), rows.columns,
                          kRows * rows.inner_stride);
      for (int64_t r = 0; r < number; ++r) {
        strip.add(values + rows.offset(r) + first, group == nullptr ? 0 : group[r]);
      }
      strip.finish();
    }
  });
}

void activation_stats(const at::Tensor& x, const std::optional<at::Tensor>& group,
                      at::ArrayRef<double> thresholds, at::Tensor count, at::Tensor total, at::Tensor square,
                      at::Tensor above, at::Tensor rows) {
  const Sums sums = checked_sums(x, group, thresholds, count, total, square, above, rows);
  const auto [readable, places] = as_rows(x);
  const int64_t* groups = group.has_value() ? group->const_data_ptr<int64_t>() : nullptr;
  add_group_rows(groups, places.number(), sums);
  if (x.numel() == 0) return;
  switch (x.scalar_type()) {
    case at::kFloat:
      return add<Float32>(readable, places, groups, sums);
    case at::kBFloat16:
      return add<BFloat16>(readable, places, groups, sums);
    default:
      return add<Float16>(readable, places, groups, sums);
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(lape, CPU, library) { library.impl("activation_stats", activation_stats); }

}  // namespace lape
