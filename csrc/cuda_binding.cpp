// torch's side of the CUDA kernels: device, stream, workspace, launch check.
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

void activation_stats(const at::Tensor& x, at::Tensor count, at::Tensor total) {
  check_statistics(x, count, total);
  if (x.numel() == 0) return;
  const c10::cuda::CUDAGuard guard(x.device());
  const auto [readable, rows] = as_rows(x);
  const int64_t blocks = row_blocks(rows);
  check_grid(blocks * (rows.columns / 128 + 1));
  const at::Tensor counts = at::empty({blocks, rows.columns}, x.options().dtype(at::kInt));
  const at::Tensor totals = at::empty({blocks, rows.columns}, x.options().dtype(at::kDouble));
  launch_activation_stats(format_of(x), readable.const_data_ptr(), rows, count.mutable_data_ptr<int64_t>(),
                          total.mutable_data_ptr<double>(), counts.mutable_data_ptr<int32_t>(),
                          totals.mutable_data_ptr<double>(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor token_nll(const at::Tensor& logits, const at::Tensor& target) {
  check_nll(logits, target);
  const c10::cuda::CUDAGuard guard(logits.device());
  at::Tensor nll = at::empty({logits.size(0)}, logits.options().dtype(at::kDouble));
  if (logits.size(0) == 0) return nll;
  const auto [readable, rows] = as_rows(logits);
  check_grid(rows.number());
  const at::Tensor targets = target.contiguous();
  launch_token_nll(format_of(logits), readable.const_data_ptr(), rows, targets.const_data_ptr<int64_t>(),
                   nll.mutable_data_ptr<double>(), c10::cuda::getCurrentCUDAStream());
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return nll;
}

}  // namespace

TORCH_LIBRARY_IMPL(lape, CUDA, library) {
  library.impl("activation_stats", activation_stats);
  library.impl("token_nll", token_nll);
}

}  // namespace lape
