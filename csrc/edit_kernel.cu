// lape::ffn_edit on CUDA. A thread block edits a row; each of its threads edits one activation at a time.
#include "pack.cuh"

namespace lape {
namespace {

constexpr int kThreads = 128;

template <typename Number>
__global__ void __launch_bounds__(kThreads)
    edit_rows(typename Number::Bits* __restrict__ x, Rows rows, const Edits edits, int64_t number,
              const int64_t* __restrict__ choice, unsigned long long* __restrict__ changed) {
  const auto row = static_cast<int32_t>(blockIdx.x);
  const int64_t chosen = choice == nullptr ? 0 : choice[row];
  if (chosen < 0 || chosen >= edits.perturbations) return;
  auto* values = x + row_start(rows, row);
  const int64_t begin = edits.offset[chosen], stop = edits.offset[chosen + 1];
  const int64_t end = stop < number ? stop : number;
  if (begin < 0) return;
  int different = 0;
  for (int64_t first = begin + blockIdx.y * kThreads; first < end; first += gridDim.y * kThreads) {
    const int64_t edit = first + threadIdx.x;
    bool differs = false;
    if (edit < end) {
      const int64_t column = edits.index[edit], mode = edits.mode[edit];
      if (column >= 0 && column < rows.columns && mode >= 0 && mode < kModes) {
        differs = edit_value<Number>(values[column], mode, edits.value[edit]);
      }
    }
    different += __syncthreads_count(differs);
  }
  if (threadIdx.x == 0 && different > 0)
    atomicAdd(changed + chosen, static_cast<unsigned long long>(different));
}

template <typename Number>
void launch(void* x, const Rows& rows, const Edits& edits, int64_t number, const int64_t* choice,
            int64_t* changed, cudaStream_t stream) {
  // Only the device knows how many edits a row has. Where rows are few, several thread blocks share a row.
  const int64_t shares = divide_up(1024, rows.number()), needed = divide_up(number, kThreads);
  const dim3 grid(static_cast<unsigned>(rows.number()),
                  static_cast<unsigned>(needed < shares ? needed : shares));
  edit_rows<Number><<<grid, kThreads, 0, stream>>>(static_cast<typename Number::Bits*>(x), rows, edits,
                                                   number, choice,
                                                   reinterpret_cast<unsigned long long*>(changed));
}

}  // namespace

void launch_ffn_edit(Format format, void* x, const Rows& rows, const Edits& edits, int64_t number,
                     const int64_t* choice, int64_t* changed, cudaStream_t stream) {
  switch (format) {
    case Format::float32:
      return launch<Float32>(x, rows, edits, number, choice, changed, stream);
    case Format::bfloat16:
      return launch<BFloat16>(x, rows, edits, number, choice, changed, stream);
    case Format::float16:
      return launch<Float16>(x, rows, edits, number, choice, changed, stream);
  }
}

}  // namespace lape
