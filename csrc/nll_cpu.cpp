// lape::token_nll on the CPU.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "arguments.h"
#include "simd.h"

namespace lape {
namespace {

// Columns that are summed in float32 before the sum joins a float64. They are few enough for the rounding of
// 512 / lanes additions to stay below 1e-5, and many enough for the float64 to cost nothing.
constexpr int64_t kBlock = 512;

// exp(x) for x <= 0, within 2 units in the last place. Larger x give 1, x below -87 gives about 1e-38, and
// NaN gives NaN.
LAPE_INLINE float exp_nonpositive(float x) {
  x = x > 0.0f ? 0.0f : x;
  x = x < -87.0f ? -87.0f : x;
  // exp(x) = 2^n exp(r) with n whole and |r| <= ln(2) / 2. Adding 1.5 * 2^23 rounds to a whole number, which
  // is then in the low bits of the float.
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = x - n * 0.693359375f - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * as_float((as_bits(shifted) + 127) << 23);
}

// Writes log(sum(exp(row))). The running sum is kept relative to the running maximum.
template <typename Format>
struct LogSumExp {
  using Bits = typename Format::Bits;
  static LAPE_INLINE void run(const Bits* row, int64_t columns, double* result) {
    float maximum = -std::numeric_limits<float>::infinity();
    double sum = 0;
    float values[kBlock];
    for (int64_t first = 0; first < columns; first += kBlock) {
      const Bits* block = row + first;
      const int64_t size = std::min(kBlock, columns - first);
      float high = maximum;
#pragma omp simd reduction(max : high)
      for (int64_t c = 0; c < size; ++c) {
        values[c] = Format::to_float(block[c]);
        high = values[c] > high ? values[c] : high;  // false for NaN, which makes the sum NaN
      }
      if (high > maximum) {
        sum *= std::exp(static_cast<double>(maximum) - high);
        maximum = high;
      }
      // At an infinite maximum any finite shift keeps the sum finite, or NaN where the row holds one.
      const float shift = std::isfinite(maximum) ? maximum : 0.0f;
      float part = 0;
#pragma omp simd reduction(+ : part)
      for (int64_t c = 0; c < size; ++c) part += exp_nonpositive(values[c] - shift);
      sum += part;
    }
    *result = maximum + std::log(sum);
  }
};

template <typename Format>
void compute(const at::Tensor& logits, const Rows& rows, const int64_t* target, double* nll) {
  using Bits = typename Format::Bits;
  const auto* values = static_cast<const Bits*>(logits.const_data_ptr());
  const Simd level = simd_level();
  at::parallel_for(0, rows.number(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const Bits* row = values + rows.offset(r);
      run_simd<LogSumExp<Format>>(level, row, rows.columns, nll + r);
      nll[r] -= Format::to_float(row[target[r]]);
    }
  });
}

at::Tensor token_nll(const at::Tensor& logits, const at::Tensor& target) {
  check_nll(logits, target);
  const at::Tensor targets = target.contiguous();
  const auto* chosen = targets.const_data_ptr<int64_t>();
  const int64_t vocabulary = logits.size(1);
  for (int64_t r = 0; r < logits.size(0); ++r) {
    TORCH_CHECK(chosen[r] >= 0 && chosen[r] < vocabulary, "target ", chosen[r], " of row ", r,
                " is outside the vocabulary of ", vocabulary);
  }
  at::Tensor nll = at::empty({logits.size(0)}, logits.options().dtype(at::kDouble));
  if (logits.numel() == 0) return nll;
  const auto [readable, rows] = as_rows(logits);
  auto* result = nll.mutable_data_ptr<double>();
  switch (logits.scalar_type()) {
    case at::kFloat:
      compute<Float32>(readable, rows, chosen, result);
      break;
    case at::kBFloat16:
      compute<BFloat16>(readable, rows, chosen, result);
      break;
    default:
      compute<Float16>(readable, rows, chosen, result);
  }
  return nll;
}

}  // namespace

TORCH_LIBRARY_IMPL(lape, CPU, library) { library.impl("token_nll", token_nll); }

}  // namespace lape
