#include "eager_activation.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>

#include <map>
#include <mutex>
#include <tuple>

namespace lape {

void eager_activation(Activation activation, const at::Tensor& input, at::Tensor& output) {
  const at::AutoDispatchBelowADInplaceOrView guard;
  switch (activation) {
    case Activation::silu:
      at::silu_out(output, input);
      break;
    case Activation::gelu:
      at::gelu_out(output, input, "none");
      break;
    case Activation::gelu_tanh:
      at::gelu_out(output, input, "tanh");
      break;
    case Activation::relu:
      at::relu_out(output, input);
      break;
    case Activation::relu2:
      at::relu_out(output, input);
      output.mul_(output);
      break;
    case Activation::quick_gelu:
      at::mul_out(output, input, at::scalar_tensor(1.702, at::kDouble));
      output.sigmoid_();
      output.mul_(input);
      break;
  }
}

const uint16_t* activation_table(Activation activation, at::ScalarType dtype, bool contiguous) {
  static std::mutex mutex;
  static std::map<std::tuple<Activation, at::ScalarType, bool>, at::Tensor> tables;
  const std::lock_guard<std::mutex> lock(mutex);
  at::Tensor& table = tables[{activation, dtype, contiguous}];
  if (!table.defined()) {
    const at::AutoDispatchBelowADInplaceOrView guard;
    const at::Tensor patterns = at::arange(1 << 16, at::kInt).to(at::kUInt16).view(dtype).view({256, 256});
    table = at::empty_like(patterns);
    eager_activation(activation, contiguous ? patterns : at::cat({patterns, patterns}, 1).narrow(1, 0, 256),
                     table);
  }
  return static_cast<const uint16_t*>(table.const_data_ptr());
}

}  // namespace lape
