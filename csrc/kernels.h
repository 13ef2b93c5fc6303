// The functions of the CUDA kernels that the torch binding calls. This file includes no torch header, so that
// nvcc compiles the kernels anywhere.
#pragma once

#include <cuda_runtime_api.h>

#include "activation.h"
#include "edit.h"
#include "rows.h"
#include "sums.h"

namespace lape {

enum class Format { float32, bfloat16, float16 };

// Workspaces of the statistics. They hold the sums of each block of rows, and are written before they are
// read. Rows of several groups are first sorted by group.
struct Partials {
  int row_block;   // rows in a block
  int64_t blocks;  // number of blocks; some may stay empty where rows are sorted by group
  double* total;   // [blocks, columns]
  double* square;  // [blocks, columns]
  uint16_t* hits;  // [blocks, 1 + thresholds, columns]: above zero, above each threshold
  int32_t* taken;  // [blocks]: number of rows that joined the sums
  int32_t* found;  // [groups + 1]: number of rows of each group, then of no group; null where not sorted
  int32_t* order;  // [groups + 1, rows]: the rows of each group in order; null where not sorted
};

constexpr int64_t divide_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// The number of rows in a block depends on the shape alone, so that the bits of a sum do not depend on the
// device. With larger blocks less is written between the passes. With smaller blocks there are sooner the
// thousand thread blocks that keep a device busy.
constexpr int kMaxRowBlock = 256;
inline int row_block_of(const Rows& rows) {
  int size = kMaxRowBlock;
  while (size > 32 && divide_up(rows.number(), size) * divide_up(rows.columns, 256) < 1024) size /= 2;
  return size;
}

// Where rows are sorted by group, a block holds rows of one group. Each group, and the rows of no group, may
// leave one block unfilled.
inline int64_t row_blocks_of(const Rows& rows, int64_t groups, bool sorted) {
  return divide_up(rows.number(), row_block_of(rows)) + (sorted ? groups : 0);
}

// Adds the statistics of x. `group` is [rows], or null where every row is of group 0.
void launch_activation_stats(Format format, const void* x, const Rows& rows, const int64_t* group,
                             const Sums& sums, const Partials& partials, cudaStream_t stream);

// Writes out[rows, columns] = activation(gate) * up, without the product where up is null, and adds the
// statistics of activation(gate).
void launch_glu_stats(Format format, Activation activation, const void* gate, const Rows& gate_rows,
                      const void* up, const Rows& up_rows, void* out, const int64_t* group, const Sums& sums,
                      const Partials& partials, cudaStream_t stream);

// The steps before and after the first pass of both kernels: one sorts the rows by group, the other adds up
// the partial sums.
void launch_sort_rows(const int64_t* group, int64_t rows, int64_t groups, const Partials& partials,
                      cudaStream_t stream);
void launch_add_partials(int64_t columns, const Sums& sums, const Partials& partials, cudaStream_t stream);

// Edits x in place, and adds the number of values that have changed to changed[perturbations]. `choice` is
// [rows], or null where every row takes perturbation 0. `number` is the number of edits of all perturbations.
// An edit, a mode or a perturbation that does not exist is left out.
void launch_ffn_edit(Format format, void* x, const Rows& rows, const Edits& edits, int64_t number,
                     const int64_t* choice, int64_t* changed, cudaStream_t stream);

// Writes nll[rows], which is NaN where the target is out of range.
void launch_token_nll(Format format, const void* logits, const Rows& rows, const int64_t* target, double* nll,
                      cudaStream_t stream);

}  // namespace lape
