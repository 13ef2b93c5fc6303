// The Python module lape.kernels._C. Importing it registers the kernels of torch.ops.lape. It also tells how
// it was built.
#include <pybind11/pybind11.h>
#include <torch/version.h>

#ifdef LAPE_CUDA
#include <cuda_runtime_api.h>
#endif

#include <string>

#include "simd.h"

namespace {

pybind11::dict build_info() {
  pybind11::dict info;
#ifdef __VERSION__
#ifdef __clang__
  info["compiler"] = __VERSION__;
#else
  info["compiler"] = "gcc " __VERSION__;
#endif
#else
  info["compiler"] = "unknown";
#endif
  info["cpp_standard"] = __cplusplus;
  info["torch"] = TORCH_VERSION;
  info["source"] = LAPE_SOURCE;
#ifdef LAPE_CUDA
  info["cuda"] = true;
  info["cuda_version"] =
      std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10);
#else
  info["cuda"] = false;
  info["cuda_version"] = pybind11::none();
#endif
#ifdef _OPENMP
  info["openmp"] = true;
#else
  info["openmp"] = false;
#endif
  info["simd"] = lape::simd_name(lape::simd_level());
  return info;
}

}  // namespace

PYBIND11_MODULE(_C, module) {
  module.doc() = "Compiled kernels of lape; use them through lape.ops.";
  module.def("build_info", &build_info,
             "Compiler, C++ standard, torch and CUDA versions, SIMD level in use.");
}
