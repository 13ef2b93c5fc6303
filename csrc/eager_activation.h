// The activation functions, computed by eager torch on the CPU, so that fused kernels have eager torch's
// bits.
#pragma once

#include <ATen/core/Tensor.h>

#include "activation.h"

namespace lape {

// Writes the activation of `input` to `output`, of the same shape and dtype.
void eager_activation(Activation activation, const at::Tensor& input, at::Tensor& output);

// The bits of the activation for each of the 65,536 bit patterns of a 16-bit dtype, computed once per
// process. Eager torch has two implementations of some functions. One of them, oneDNN's, is for contiguous
// tensors only.
const uint16_t* activation_table(Activation activation, at::ScalarType dtype, bool contiguous);

}  // namespace lape
