// The binding of the CUDA kernels to torch: device, stream, workspaces, check of the launch.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <limits>

#include "arguments.h"
#include "kernels.h"

namespace lape {
namespace {

Format format_of(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return Format::float32;
    case at::kBFloat16:
      return Format::bfloat16;
    default:
      return Format::float16;
  }
}

void check_grid(int64_t blocks) {
  TORCH_CHECK(blocks <= std::numeric_limits<int32_t>::max(), "too many rows for one launch; split them");
}

const int64_t* pointer_or_null(const std::optional<at::Tensor>& tensor) {
  return tensor.has_value() ? tensor->const_data_ptr<int64_t>() : nullptr;
}

// The workspaces of a call. They may go back to the allocator before the kernels have run. Whoever gets the
// memory next runs after these kernels, on the same stream.
struct Workspace {
  at::Tensor sums, hits, rows;
  Partials partials;
};

Workspace workspace_for(const at::Tensor& x, const Rows& rows, const int64_t* group, const Sums& sums) {
  const bool sorted = group != nullptr && sums.groups > 1;
  const int64_t blocks = row_blocks_of(rows, sums.groups, sorted);
  check_grid(rows.number());
  check_grid(blocks * divide_up(rows.columns, 32));
  TORCH_CHECK(rows.columns < int64_t{1} << 30, "x has too many neurons: ", rows.columns);
  TORCH_CHECK(sums.groups < 65536, "there can be 65535 groups, not ", sums.groups);
  const int64_t lists = sorted ? sums.groups + 1 : 0;
  Workspace space{at::empty({2, blocks, rows.columns}, x.options().dtype(at::kDouble)),
                  at::empty({blocks, 1 + sums.thresholds, rows.columns}, x.options().dtype(at::kShort)),
                  at::empty({blocks + lists * (1 + rows.number())}, x.options().dtype(at::kInt)),
                  {}};
  Partials& partials = space.partials;
  partials.row_block = row_block_of(rows);
  partials.blocks = blocks;
  partials.total = space.sums.mutable_data_ptr<double>();
  partials.square = partials.total + blocks * rows.columns;
  partials.hits = reinterpret_cast<uint16_t*>(space.hits.mutable_data_ptr<int16_t>());
  partials.taken = space.rows.mutable_data_ptr<int32_t>();
  partials.found = sorted ? partials.taken + blocks : nullptr;
  partials.order = sorted ? partials.found + lists : nullptr;
  return space;
}

void activation_stats(const at::Tensor& x, const std::optional<at::Tensor>& group,
                      at::ArrayRef<double> thresholds, at::Tensor count, at::Tensor total, at::Tensor square,
                      at::Tensor above, at::Tensor rows) {
  const Sums sums = checked_sums(x, group, thresholds, count, total, square, above, rows);
  if (x.numel() == 0) return;
  const c10::cuda::CUDAGuard guard(x.device());
  const auto [readable, places] = as_rows(x);
  const int64_t* groups = pointer_or_null(group);
  const Workspace space = workspace_for(x, places, groups, sums);
  launch_activation_stats(format_of(x), readable.const_data_ptr(), places, groups, sums, space.partials,
                          c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor glu_stats(const at::Tensor& gate, const std::optional<at::Tensor>& up, std::string_view activation,
                     const std::optional<at::Tensor>& group, at::ArrayRef<double> thresholds,
                     at::Tensor count, at::Tensor total, at::Tensor square, at::Tensor above,
                     at::Tensor rows) {
  check_glu(gate, up);
  const Activation kind = parse_activation(activation);
  const Sums sums = checked_sums(gate, group, thresholds, count, total, square, above, rows);
  const c10::cuda::CUDAGuard guard(gate.device());
  at::Tensor out = at::empty(gate.sizes(), gate.options());
  if (gate.numel() == 0) return out;
  const auto [gates, gate_rows] = as_rows(gate);
  const auto [ups, up_rows] = up.has_value() ? as_rows(*up) : std::tuple{at::Tensor(), gate_rows};
  const int64_t* groups = pointer_or_null(group);
  const Workspace space = workspace_for(gate, gate_rows, groups, sums);
  launch_glu_stats(format_of(gate), kind, gates.const_data_ptr(), gate_rows,
                   ups.defined() ? ups.const_data_ptr() : nullptr, up_rows, out.mutable_data_ptr(), groups,
                   sums, space.partials, c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return out;
}

void ffn_edit(at::Tensor x, const at::Tensor& index, const at::Tensor& mode, const at::Tensor& value,
              const at::Tensor& offset, const std::optional<at::Tensor>& choice, at::Tensor changed) {
  check_edit(x, index, mode, value, offset, choice, changed);
  const Rows rows = writable_rows(x);
  if (x.numel() == 0 || index.numel() == 0) return;
  const c10::cuda::CUDAGuard guard(x.device());
  check_grid(rows.number());
  const Edits edits{index.const_data_ptr<int64_t>(), mode.const_data_ptr<int64_t>(),
                    value.const_data_ptr<float>(), offset.const_data_ptr<int64_t>(), offset.size(0) - 1};
  launch_ffn_edit(format_of(x), x.mutable_data_ptr(), rows, edits, index.size(0), pointer_or_null(choice),
                  changed.mutable_data_ptr<int64_t>(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor token_nll(const at::Tensor& logits, const at::Tensor& target) {
  check_nll(logits, target);
  const c10::cuda::CUDAGuard guard(logits.device());
  at::Tensor nll = at::empty({logits.size(0)}, logits.options().dtype(at::kDouble));
  if (logits.size(0) == 0) return nll;
  const auto [readable, rows] = as_rows(logits);
  check_grid(rows.number());
  TORCH_CHECK(rows.columns < int64_t{1} << 30, "logits has too many columns: ", rows.columns);
  const at::Tensor targets = target.contiguous();
  launch_token_nll(format_of(logits), readable.const_data_ptr(), rows, targets.const_data_ptr<int64_t>(),
                   nll.mutable_data_ptr<double>(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return nll;
}

}  // namespace

TORCH_LIBRARY_IMPL(lape, CUDA, library) {
  library.impl("activation_stats", activation_stats);
  library.impl("glu_stats", glu_stats);
  library.impl("ffn_edit", ffn_edit);
  library.impl("token_nll", token_nll);
}

}  // namespace lape
