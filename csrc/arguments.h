// Shared by the CPU and the CUDA bindings: checks of the arguments, and strided rows without a copy.
#pragma once

#include <ATen/MemoryOverlap.h>
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

#include "activation.h"
#include "rows.h"
#include "sums.h"

namespace lape {

inline void check_dtype(const at::Tensor& tensor, const char* name) {
  const auto type = tensor.scalar_type();
  TORCH_CHECK(type == at::kFloat || type == at::kBFloat16 || type == at::kHalf, name,
              " must be float32, bfloat16 or float16, not ", type);
}

// Checks that a tensor of integers or sums has a type, a shape and a device, and is contiguous.
inline void check_beside(const at::Tensor& tensor, const char* name, at::ScalarType type,
                         at::IntArrayRef shape, const at::Tensor& x) {
  TORCH_CHECK(tensor.scalar_type() == type, name, " must be ", type, ", not ", tensor.scalar_type());
  TORCH_CHECK(tensor.sizes() == shape, name, " must have shape ", shape, ", not ", tensor.sizes());
  TORCH_CHECK(tensor.device() == x.device(), name, " must be on ", x.device(), ", not ", tensor.device());
  TORCH_CHECK(tensor.is_contiguous(), name, " must be contiguous");
}

// Checks that a tensor, where there is one, has one value for each row of x.
inline void check_row_values(const std::optional<at::Tensor>& values, const char* name, const at::Tensor& x) {
  if (values.has_value()) check_beside(*values, name, at::kLong, x.sizes().slice(0, x.dim() - 1), x);
}

// Checks everything that statistics of x need, and returns where to add them.
inline Sums checked_sums(const at::Tensor& x, const std::optional<at::Tensor>& group,
                         at::ArrayRef<double> thresholds, const at::Tensor& count, const at::Tensor& total,
                         const at::Tensor& square, const at::Tensor& above, const at::Tensor& rows) {
  check_dtype(x, "x");
  TORCH_CHECK(x.dim() >= 1, "x must have at least one dimension, the neurons");
  TORCH_CHECK(thresholds.size() <= kMaxThresholds, "there can be ", kMaxThresholds, " thresholds, not ",
              thresholds.size());
  check_row_values(group, "group", x);
  TORCH_CHECK(count.dim() == 2, "count must have shape [groups, neurons], not ", count.sizes());
  const int64_t groups = count.size(0), columns = x.size(-1);
  check_beside(count, "count", at::kLong, {groups, columns}, x);
  check_beside(total, "total", at::kDouble, {groups, columns}, x);
  check_beside(square, "square", at::kDouble, {groups, columns}, x);
  check_beside(above, "above", at::kLong, {static_cast<int64_t>(thresholds.size()), groups, columns}, x);
  check_beside(rows, "rows", at::kLong, {groups}, x);
  TORCH_CHECK(groups > 0, "count must have at least one group");
  Sums sums{count.mutable_data_ptr<int64_t>(),   total.mutable_data_ptr<double>(),
            square.mutable_data_ptr<double>(),   above.mutable_data_ptr<int64_t>(),
            rows.mutable_data_ptr<int64_t>(),    groups,
            static_cast<int>(thresholds.size()), {}};
  for (size_t k = 0; k < thresholds.size(); ++k) sums.threshold[k] = static_cast<float>(thresholds[k]);
  return sums;
}

inline void check_glu(const at::Tensor& gate, const std::optional<at::Tensor>& up) {
  check_dtype(gate, "gate");
  TORCH_CHECK(gate.dim() >= 1, "gate must have at least one dimension, the neurons");
  if (!up.has_value()) return;
  TORCH_CHECK(up->scalar_type() == gate.scalar_type(), "up must be ", gate.scalar_type(), " as gate, not ",
              up->scalar_type());
  TORCH_CHECK(up->sizes() == gate.sizes(), "up must have shape ", gate.sizes(), " as gate, not ",
              up->sizes());
  TORCH_CHECK(up->device() == gate.device(), "up must be on ", gate.device(), ", not ", up->device());
}

inline Activation parse_activation(std::string_view name) {
  if (name == "silu") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_tanh") return Activation::gelu_tanh;
  if (name == "relu") return Activation::relu;
  if (name == "relu2") return Activation::relu2;
  if (name == "quick_gelu") return Activation::quick_gelu;
  TORCH_CHECK(false, "activation '", name,
              "' is unknown; there are silu, gelu, gelu_tanh, relu, relu2, quick_gelu");
}

inline void check_edit(const at::Tensor& x, const at::Tensor& index, const at::Tensor& mode,
                       const at::Tensor& value, const at::Tensor& offset,
                       const std::optional<at::Tensor>& choice, const at::Tensor& changed) {
  check_dtype(x, "x");
  TORCH_CHECK(x.dim() >= 1, "x must have at least one dimension, the neurons");
  TORCH_CHECK(index.dim() == 1 && offset.dim() == 1 && offset.size(0) >= 1,
              "index must have shape [edits] and offset [perturbations + 1], not ", index.sizes(), " and ",
              offset.sizes());
  const int64_t edits = index.size(0), perturbations = offset.size(0) - 1;
  check_beside(index, "index", at::kLong, {edits}, x);
  check_beside(mode, "mode", at::kLong, {edits}, x);
  check_beside(value, "value", at::kFloat, {edits}, x);
  check_beside(offset, "offset", at::kLong, {perturbations + 1}, x);
  check_beside(changed, "changed", at::kLong, {perturbations}, x);
  check_row_values(choice, "choice", x);
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

// The rows of x, where they can be read without a copy.
inline std::optional<Rows> rows_in_place(const at::Tensor& x) {
  const int64_t columns = x.size(-1);
  Rows rows{1, 1, columns, columns, columns};
  if (columns != 1 && x.stride(-1) != 1) return std::nullopt;
  int used = 0;  // dimensions of `rows` in use, the inner one first
  for (int64_t dim = x.dim() - 2; dim >= 0; --dim) {
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
      return std::nullopt;
    }
  }
  return rows;
}

// Reads [..., columns] as rows at two strides at most, which covers slices of a batch or of its positions.
// Where the columns themselves are strided, or where three strides are needed, x is copied in its dtype.
// Returns the tensor to read, which must outlive the rows, and the rows.
inline std::tuple<at::Tensor, Rows> as_rows(const at::Tensor& x) {
  if (const auto rows = rows_in_place(x)) return {x, *rows};
  const int64_t columns = x.size(-1);
  const int64_t number = columns == 0 ? 0 : x.numel() / columns;
  return {x.contiguous(), Rows{1, number, columns, columns, columns}};
}

// The rows of a tensor to edit in place. An expanded tensor is refused, as it would be edited several times.
inline Rows writable_rows(const at::Tensor& x) {
  const auto rows = rows_in_place(x);
  TORCH_CHECK(
      rows.has_value() && at::has_internal_overlap(x) != at::MemOverlap::Yes,
      "x must be editable in place: rows of neighbouring columns at two strides at most, none of them twice");
  return *rows;
}

}  // namespace lape
