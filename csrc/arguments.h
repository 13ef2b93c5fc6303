// What the CPU and the CUDA bindings share: checks of the arguments, and strided rows without a copy.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <tuple>

#include "rows.h"

namespace lape {

inline void check_dtype(const at::Tensor& tensor, const char* name) {
  const auto type = tensor.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kHalf, name,
              " must be float32, bfloat16 or float16, not ", type);
}

inline void check_statistics(const at::Tensor& x, const at::Tensor& count, const at::Tensor& total) {
  check_dtype(x, "x");
  TORCH_CHECK(x.dim() >= 1, "x must have at least one dimension, the neurons");
  TORCH_CHECK(count.scalar_type() == at::kLong, "count must be int64, not ", count.scalar_type());
  TORCH_CHECK(total.scalar_type() == at::kDouble, "total must be float64, not ", total.scalar_type());
  for (const auto& sum : {count, total}) {
    TORCH_CHECK(sum.dim() == 1 && sum.size(0) == x.size(-1), "count and total must have shape [", x.size(-1),
                "], as the last dimension of x, not ", sum.sizes());
    TORCH_CHECK(sum.device() == x.device(), "x, count and total must be on one device, not ", x.device(),
                " and ", sum.device());
    TORCH_CHECK(sum.is_contiguous(), "count and total must be contiguous");
  }
}

inline void check_nll(const at::Tensor& logits, const at::Tensor& target) {
  check_dtype(logits, "logits");
  TORCH_CHECK(logits.dim() == 2, "logits must have shape [rows, vocabulary], not ", logits.sizes());
  TORCH_CHECK(target.scalar_type() == at::kLong, "target must be int64, not ", target.scalar_type());
  TORCH_CHECK(target.dim() == 1 && target.size(0) == logits.size(0), "target must have shape [",
              logits.size(0), "], as the rows of logits, not ", target.sizes());
  TORCH_CHECK(target.device() == logits.device(), "logits and target must be on one device, not ",
              logits.device(), " and ", target.device());
}

// Reads [..., columns] as rows at two strides at most, which covers slices of a batch or of its positions.
// Only where the columns themselves are strided, or three strides are needed, is there a copy, in x's dtype.
// Returns the tensor to read, which must outlive the rows, and the rows.
inline std::tuple<at::Tensor, Rows> as_rows(const at::Tensor& x) {
  const int64_t columns = x.size(-1);
  Rows rows{1, 1, columns, columns, columns};
  bool strided = columns == 1 || x.stride(-1) == 1;
  int used = 0;  // dimensions of `rows` in use, the inner one first
  for (int64_t dim = x.dim() - 2; dim >= 0 && strided; --dim) {
    const int64_t size = x.size(dim), stride = x.stride(dim);
    if (size == 1) continue;
    if (used == 0) {
      rows.inner = size;
      rows.inner_stride = stride;
      used = 1;
    } else if (used == 1 && stride == rows.inner_stride * rows.inner) {
      rows.inner *= size;
    } else if (used == 1) {
      rows.outer = size;
      rows.outer_stride = stride;
      used = 2;
    } else if (stride == rows.outer_stride * rows.outer) {
      rows.outer *= size;
    } else {
      strided = false;
    }
  }
  if (strided) return {x, rows};
  const int64_t number = columns == 0 ? 0 : x.numel() / columns;
  return {x.contiguous(), Rows{1, number, columns, columns, columns}};
}

}  // namespace lape
