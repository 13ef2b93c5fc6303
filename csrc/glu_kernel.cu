// lape::glu_stats on CUDA: the activation, its statistics and the product in one pass.
//
// Each activation is the expression of torch's own CUDA kernel, so that the same compiler gives the same
// float32 before rounding. Eager torch stores the activation in the tensor's dtype, and the intermediate
// steps of relu2 and quick_gelu too. Products that eager torch rounds to memory are __fmul_rn, which the
// compiler may not contract with a following addition.
#include "approximate.cuh"
#include "sums.cuh"

namespace lape {
namespace {

// The quotients of a row's values, rounded to nearest as by `/`. The operator `/` has one branch per division
// for very small or large operands, which keeps the next division waiting. Here the row has one branch.
template <int width>
__device__ __forceinline__ void divide(const float (&dividend)[width], const float (&divisor)[width],
                                       float (&quotient)[width]) {
  constexpr float kLarge = 1ull << 60, kSmall = 1.0f / kLarge;
  bool ordinary = true;
#pragma unroll
  for (int k = 0; k < width; ++k) {
    const float x = dividend[k], y = divisor[k];  // y is 1 or more, or NaN
    // With `&&` each comparison would be a branch.
    ordinary &= (fabsf(x) > kSmall) & (fabsf(x) < kLarge) & (y < kLarge);
    float inverse = approximate_reciprocal(y);
    inverse = __fmaf_rn(inverse, __fmaf_rn(-y, inverse, 1.0f), inverse);
    const float near = __fmul_rn(x, inverse);
    quotient[k] = __fmaf_rn(inverse, __fmaf_rn(-y, near, x), near);
  }
  if (ordinary) return;
#pragma unroll
  for (int k = 0; k < width; ++k) quotient[k] = dividend[k] / divisor[k];
}

// Replaces the values of a row by their activations, before they are rounded to the format. Of relu and relu2
// words are computed, without conversions.
template <typename Number, Activation activation, int width>
__device__ __forceinline__ void activate(float (&values)[width]) {
  float divisor[width], dividend[width];
#pragma unroll
  for (int k = 0; k < width; ++k) {
    float& x = values[k];
    if constexpr (activation == Activation::silu) {
      divisor[k] = 1.0f + expf(-x);
    } else if constexpr (activation == Activation::gelu) {
      constexpr float kAlpha = 0.70710678118654752440;
      x = x * 0.5f * (1.0f + erff(x * kAlpha));
    } else if constexpr (activation == Activation::gelu_tanh) {
      constexpr float kBeta = 1.41421356237309504880 * 1.12837916709551257390 * 0.5, kKappa = 0.044715;
      const float cube = x * x * x;
      const float inner = kBeta * (x + kKappa * cube);
      x = 0.5f * x * (1.0f + tanhf(inner));
    } else if constexpr (activation == Activation::quick_gelu) {
      divisor[k] = 1.0f + expf(-rounded<Number>(__fmul_rn(x, static_cast<float>(1.702))));
      dividend[k] = 1.0f;
    }
  }
  if constexpr (activation == Activation::silu) {
    float quotient[width];
    divide(values, divisor, quotient);
#pragma unroll
    for (int k = 0; k < width; ++k) values[k] = quotient[k];
  } else if constexpr (activation == Activation::quick_gelu) {
    float quotient[width];
    divide(dividend, divisor, quotient);
#pragma unroll
    for (int k = 0; k < width; ++k) values[k] = __fmul_rn(values[k], rounded<Number>(quotient[k]));
  }
}

template <typename Number_, Activation activation, int width_>
struct Glu {
  using Number = Number_;
  // Long activations leave registers for fewer rows, and give the reads more time to arrive.
  static constexpr bool kLong = activation == Activation::gelu || activation == Activation::gelu_tanh;
  static constexpr int width = width_, batch = kLong ? 2 : 4;
  static constexpr bool writes = true;
  using Bits = typename Number::Bits;
  using Values = Words<Number, width>;
  struct Loaded {
    Values gate, up;
  };
  const Bits* gate;
  Rows gate_rows;
  const Bits* up;  // null where there is no product
  Rows up_rows;
  Bits* out;

  struct Place {
    const Bits *gate, *up;
    Bits* out;
  };
  __device__ __forceinline__ Place place(int32_t row) const {
    return {gate + row_start(gate_rows, row), up == nullptr ? nullptr : up + row_start(up_rows, row),
            out + row * gate_rows.columns};
  }
  __device__ __forceinline__ Loaded load(const Place& place, int column) const {
    Loaded loaded;
    loaded.gate = Values::read(place.gate + column);
    if (up != nullptr) loaded.up = Values::read(place.up + column);
    return loaded;
  }
  __device__ __forceinline__ Values use(const Loaded& loaded, const Place& place, int column,
                                        bool inside) const {
    Values active;
    if constexpr (activation == Activation::relu || activation == Activation::relu2) {
#pragma unroll
      for (int j = 0; j < Values::number; ++j) {
        const uint32_t word = rectified<Number>(loaded.gate.words[j]);
        active.words[j] = activation == Activation::relu ? word : product<Number>(word, word);
      }
    } else {
      float values[width];
#pragma unroll
      for (int k = 0; k < width; ++k) values[k] = loaded.gate.get(k);
      activate<Number, activation>(values);
      active = Values::of(values);
    }
    Values result = active;
    if (up != nullptr) {
#pragma unroll
      for (int j = 0; j < Values::number; ++j)
        result.words[j] = product<Number>(active.words[j], loaded.up.words[j]);
    }
    if (inside) result.write(place.out + column);
    return active;
  }
};

struct Arguments {
  const void* gate;
  const Rows& gate_rows;
  const void* up;
  const Rows& up_rows;
  void* out;
  const int64_t* group;
  const Sums& sums;
  const Partials& partials;
  cudaStream_t stream;
};

template <typename Number, Activation activation, int width>
void launch_width(const Arguments& a) {
  using Bits = typename Number::Bits;
  const Glu<Number, activation, width> source{static_cast<const Bits*>(a.gate), a.gate_rows,
                                              static_cast<const Bits*>(a.up), a.up_rows,
                                              static_cast<Bits*>(a.out)};
  launch_sums(source, a.gate_rows, a.group, a.sums, a.partials, a.stream);
}

template <typename Number, Activation activation>
void launch(const Arguments& a) {
  using Bits = typename Number::Bits;
  constexpr int width = kFullWidth<Number>;
  const bool whole = packs<Bits, width>(a.gate, a.gate_rows) &&
                     packs<Bits, width>(a.out, {1, 1, 0, 0, width}) &&
                     (a.up == nullptr || packs<Bits, width>(a.up, a.up_rows));
  return whole ? launch_width<Number, activation, width>(a) : launch_width<Number, activation, 1>(a);
}

template <typename Number>
void launch(Activation activation, const Arguments& a) {
  switch (activation) {
    case Activation::silu:
      return launch<Number, Activation::silu>(a);
    case Activation::gelu:
      return launch<Number, Activation::gelu>(a);
    case Activation::gelu_tanh:
      return launch<Number, Activation::gelu_tanh>(a);
    case Activation::relu:
      return launch<Number, Activation::relu>(a);
    case Activation::relu2:
      return launch<Number, Activation::relu2>(a);
    case Activation::quick_gelu:
      return launch<Number, Activation::quick_gelu>(a);
  }
}

}  // namespace

void launch_glu_stats(Format format, Activation activation, const void* gate, const Rows& gate_rows,
                      const void* up, const Rows& up_rows, void* out, const int64_t* group, const Sums& sums,
                      const Partials& partials, cudaStream_t stream) {
  const Arguments a{gate, gate_rows, up, up_rows, out, group, sums, partials, stream};
  switch (format) {
    case Format::float32:
      return launch<Float32>(activation, a);
    case Format::bfloat16:
      return launch<BFloat16>(activation, a);
    case Format::float16:
      return launch<Float16>(activation, a);
  }
}

}  // namespace lape
