// The activation functions that the fused kernels know. This file includes no torch header.
#pragma once

namespace lape {

enum class Activation { silu, gelu, gelu_tanh, relu, relu2, quick_gelu };

}  // namespace lape
