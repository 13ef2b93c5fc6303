// What the CUDA kernels offer to the torch binding. No torch header, so that nvcc compiles them anywhere.
#pragma once

#include <cuda_runtime_api.h>

#include "rows.h"

namespace lape {

enum class Format { float32, bfloat16, float16 };

// Rows that one thread adds up: fixed, so that a sum's bits do not depend on the device.
constexpr int kRowBlock = 64;

inline int64_t row_blocks(const Rows& rows) { return (rows.number() + kRowBlock - 1) / kRowBlock; }

// Adds to count[columns] and total[columns]. The workspaces hold row_blocks(rows) * columns values each.
void launch_activation_stats(Format format, const void* x, const Rows& rows, int64_t* count, double* total,
                             int32_t* count_workspace, double* total_workspace, cudaStream_t stream);

// Writes nll[rows]; NaN where the target is out of range.
void launch_token_nll(Format format, const void* logits, const Rows& rows, const int64_t* target, double* nll,
                      cudaStream_t stream);

}  // namespace lape
