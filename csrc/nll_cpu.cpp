// lape::token_nll on the CPU.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "arguments.h"
#include "avx2.h"

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

// The sum of exp(values[c] - shift) over a block. No value is above the shift, unless the shift stands for an
// infinite maximum.
struct SumExp {
  static LAPE_INLINE float run(const float* values, int64_t size, float shift) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t c = 0; c < size; ++c) sum += exp_nonpositive(values[c] - shift);
    return sum;
  }
};

#ifdef LAPE_X86
// exp_nonpositive of eight values, within 4 units in the last place. With a fused multiply-add one step
// reduces x, and fewer coefficients do. GCC would turn the limits of exp_nonpositive into masks and blends.
LAPE_AVX2_INLINE __m256 exp_nonpositive_8(__m256 x) {
  x = _mm256_min_ps(_mm256_setzero_ps(), x);  // the second operand where x is NaN
  x = _mm256_max_ps(_mm256_set1_ps(-87.0f), x);
  // 2^n is n + 127 in the bits of the exponent. Adding 127 here puts it into the low bits.
  const __m256 whole = _mm256_set1_ps(12582912.0f + 127.0f);
  const __m256 shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(1.44269504f), whole);
  const __m256 n = _mm256_sub_ps(shifted, whole);
  const __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693147181f), x);
  __m256 p = _mm256_fmadd_ps(r, _mm256_set1_ps(8.290229e-3f), _mm256_set1_ps(4.189839e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.666764e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.9999145e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(9.999997e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
}

// `values` has room for a whole vector at the end.
struct SumExpAvx2 {
  static LAPE_AVX2 float run(float* values, int64_t size, float shift) {
    __m256 sum = _mm256_setzero_ps();
    const int64_t whole = (size + 7) / 8 * 8;
    std::fill(values + size, values + whole, -std::numeric_limits<float>::infinity());
    for (int64_t c = 0; c < whole; c += 8) {
      const __m256 x = _mm256_sub_ps(_mm256_loadu_ps(values + c), _mm256_set1_ps(shift));
      sum = _mm256_add_ps(sum, exp_nonpositive_8(x));
    }
    float lanes[8];
    _mm256_storeu_ps(lanes, sum);
    return std::accumulate(lanes, lanes + 8, 0.0f);
  }
};
#endif

// Writes log(sum(exp(row))). The running sum is kept relative to the running maximum.
template <typename Format>
struct LogSumExp {
  using Bits = typename Format::Bits;
  static LAPE_INLINE void run(const Bits* row, int64_t columns, double* result) {
    run_with<SumExp>(row, columns, result);
  }
#ifdef LAPE_X86
  static LAPE_INLINE void avx2(const Bits* row, int64_t columns, double* result) {
    run_with<SumExpAvx2>(row, columns, result);
  }
#endif

 private:
  template <typename Sum>
  static LAPE_INLINE void run_with(const Bits* row, int64_t columns, double* result) {
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
      sum += Sum::run(values, size, shift);
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
