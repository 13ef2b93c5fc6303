// lape::ffn_edit on the CPU.
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "arguments.h"
#include "edit.h"

namespace lape {
namespace {

constexpr int64_t kGrain = int64_t{1} << 13;  // edits below which another thread is not worth starting

template <typename Format>
void edit(const at::Tensor& x, const Rows& rows, const Edits& edits, const int64_t* choice,
          int64_t* changed) {
  auto* values = static_cast<typename Format::Bits*>(x.mutable_data_ptr());
  const int64_t perturbations = edits.perturbations;
  const int64_t each = edits.offset[perturbations] / std::max<int64_t>(1, perturbations);
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, each));
  std::mutex mutex;
  at::parallel_for(0, rows.number(), grain, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> different(perturbations);
    for (int64_t r = begin; r < end; ++r) {
      const int64_t p = choice == nullptr ? 0 : choice[r];
      if (p < 0) continue;
      auto* row = values + rows.offset(r);
      // The values of the next row are fetched ahead, as they lie too far apart for the processor to do so.
      const auto* next = values + rows.offset(std::min(r + 1, end - 1));
      for (int64_t m = edits.offset[p]; m < edits.offset[p + 1]; ++m) {
        __builtin_prefetch(next + edits.index[m], 1);
        different[p] += edit_value<Format>(row[edits.index[m]], edits.mode[m], edits.value[m]);
      }
    }
    const std::lock_guard<std::mutex> lock(mutex);
    for (int64_t p = 0; p < perturbations; ++p) changed[p] += different[p];
  });
}

void ffn_edit(at::Tensor x, const at::Tensor& index, const at::Tensor& mode, const at::Tensor& value,
              const at::Tensor& offset, const std::optional<at::Tensor>& choice, at::Tensor changed) {
  check_edit(x, index, mode, value, offset, choice, changed);
  const Rows rows = writable_rows(x);
  const Edits edits{index.const_data_ptr<int64_t>(), mode.const_data_ptr<int64_t>(),
                    value.const_data_ptr<float>(), offset.const_data_ptr<int64_t>(), offset.size(0) - 1};
  for (int64_t p = 0; p < edits.perturbations; ++p) {
    TORCH_CHECK(0 <= edits.offset[p] && edits.offset[p] <= edits.offset[p + 1] &&
                    edits.offset[p + 1] <= index.size(0),
                "offset must rise from 0 to at most ", index.size(0));
  }
  for (int64_t m = 0; m < index.size(0); ++m) {
    TORCH_CHECK(0 <= edits.index[m] && edits.index[m] < rows.columns, "index ", edits.index[m],
                " is outside the ", rows.columns, " neurons");
    TORCH_CHECK(0 <= edits.mode[m] && edits.mode[m] < kModes, "mode ", edits.mode[m], " is unknown");
  }
  const int64_t* chosen = choice.has_value() ? choice->const_data_ptr<int64_t>() : nullptr;
  for (int64_t r = 0; chosen != nullptr && r < rows.number(); ++r) {
    TORCH_CHECK(chosen[r] < edits.perturbations, "choice ", chosen[r], " of row ", r, " is not below ",
                edits.perturbations);
  }
  if (x.numel() == 0 || edits.perturbations == 0) return;
  auto* changes = changed.mutable_data_ptr<int64_t>();
  switch (x.scalar_type()) {
    case at::kFloat:
      return edit<Float32>(x, rows, edits, chosen, changes);
    case at::kBFloat16:
      return edit<BFloat16>(x, rows, edits, chosen, changes);
    default:
      return edit<Float16>(x, rows, edits, chosen, changes);
  }
}

}  // namespace

TORCH_LIBRARY_IMPL(lape, CPU, library) { library.impl("ffn_edit", ffn_edit); }

}  // namespace lape
