// lape::glu_stats on the CPU. A tile of activations stays in the cache while the activation function, the
// statistics and the product pass over it.
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <torch/library.h>

#include <type_traits>
#include <vector>

#include "add_rows.h"
#include "arguments.h"
#include "eager_activation.h"

namespace lape {
namespace {

constexpr int64_t kTile = int64_t{1} << 16;   // float32 activations that one call of eager torch computes
constexpr int64_t kWide = 4096;               // columns at a time: enough for the processor to fetch ahead
constexpr int64_t kGrain = int64_t{1} << 14;  // elements below which another thread is not worth starting

// out = activation * up, rounded once, as eager torch does.
template <typename Format>
struct Multiply {
  using Bits = typename Format::Bits;
  static LAPE_INLINE void run(const Bits* __restrict__ activation, const Bits* __restrict__ up,
                              int64_t columns, Bits* __restrict__ out) {
    for (int64_t c = 0; c < columns; ++c) {
      out[c] = Format::from_float(Format::to_float(activation[c]) * Format::to_float(up[c]));
    }
  }
#ifdef LAPE_X86
  static LAPE_AVX2_INLINE void avx2(const Bits* activation, const Bits* up, int64_t columns, Bits* out) {
    int64_t c = 0;
    for (; c + kVector<Format> <= columns; c += kVector<Format>) {
      store_bits(out + c, multiply<Format>(load_bits(activation + c), load_bits(up + c)));
    }
    run(activation + c, up + c, columns - c, out + c);
  }
#endif
};

// One store for eight values is twice as fast as eight stores.
LAPE_INLINE void look_up_8(const uint16_t* table, const uint16_t* values, uint16_t* result) {
#ifdef __GNUC__
  using Eight __attribute__((vector_size(16))) = uint16_t;
  const Eight found = {table[values[0]], table[values[1]], table[values[2]], table[values[3]],
                       table[values[4]], table[values[5]], table[values[6]], table[values[7]]};
  std::memcpy(result, &found, sizeof(found));
#else
  for (int k = 0; k < 8; ++k) result[k] = table[values[k]];
#endif
}

// Cache lines to fetch while the activations of a row are computed, which takes too long for the processor to
// fetch them ahead by itself: those of the next row, and those of the result.
template <typename Bits>
struct Ahead {
  static constexpr int64_t kLine = 64 / sizeof(Bits);
  const Bits *gate, *up, *out;

  LAPE_INLINE void fetch(int64_t column) const {
    __builtin_prefetch(gate + column);
    __builtin_prefetch(up + column);
    __builtin_prefetch(out + column, 1);
  }
};

// activation = table[gate].
inline void look_up(const uint16_t* table, const uint16_t* gate, const Ahead<uint16_t>& ahead,
                    int64_t columns, uint16_t* activation) {
  constexpr int64_t kLine = Ahead<uint16_t>::kLine;
  int64_t c = 0;
  for (; c + kLine <= columns; c += kLine) {
    ahead.fetch(c);
    for (int64_t k = c; k < c + kLine; k += 8) look_up_8(table, gate + k, activation + k);
  }
  for (; c < columns; ++c) activation[c] = table[gate[c]];
}

template <typename Format>
struct Glu {
  using Bits = typename Format::Bits;
  const Bits *gate, *up;  // up is null for an FFN without a gate
  Rows gate_rows, up_rows;
  Bits* out;  // [rows, columns], contiguous
  const int64_t* group;
  const Sums& sums;
  Simd level = simd_level();

  // What is fetched during row `row`: row `next`, which is read then, and the row's own result.
  Ahead<Bits> ahead(int64_t row, int64_t next, int64_t first) const {
    const Bits* next_gate = gate + gate_rows.offset(next) + first;
    return {next_gate, up == nullptr ? next_gate : up + up_rows.offset(next) + first,
            out + row * gate_rows.columns + first};
  }

  int64_t group_of(int64_t row) const { return group == nullptr ? 0 : group[row]; }

  void finish_row(const Bits* activation, int64_t row, int64_t first, int64_t columns,
                  Strip<Format>& strip) const {
    Bits* target = out + row * gate_rows.columns + first;
    if (up == nullptr) {
      std::copy_n(activation, columns, target);
    } else {
      run_simd<Multiply<Format>>(level, activation, up + up_rows.offset(row) + first, columns, target);
    }
    strip.add(activation, group_of(row));
  }
};

// Finishes the rows below `number`. activate(gate, ahead, columns, activation) writes a row's activations.
template <typename Format, typename Activate>
void run_rows(const Glu<Format>& glu, int64_t number, Activate activate) {
  using Bits = typename Format::Bits;
  const int64_t grain = std::max<int64_t>(64, kGrain / std::max<int64_t>(1, number));
  at::parallel_for(0, glu.gate_rows.columns, grain, [&](int64_t begin, int64_t end) {
    std::vector<Bits> tile(kRows * kWide);
    for (int64_t first = begin; first < end; first += kWide) {
      const int64_t columns = std::min(kWide, end - first);
      Strip<Format> strip(glu.sums, first, columns, glu.gate_rows.columns);
      for (int64_t r = 0; r < number; ++r) {
        if (r % kRows == 0) strip.finish();  // the tile is about to be written again
        Bits* activation = tile.data() + r % kRows * kWide;
        activate(glu.gate + glu.gate_rows.offset(r) + first, glu.ahead(r, std::min(r + 1, number - 1), first),
                 columns, activation);
        glu.finish_row(activation, r, first, columns, strip);
      }
      strip.finish();
    }
  });
}

// In float32 eager torch computes the activation of a tile. Each thread has whole vectors of columns and all
// rows from `start` on, since starting and joining threads for every tile would take longer than the tile.
void run_eager(const Glu<Float32>& glu, Activation kind, bool contiguous, int64_t start) {
  constexpr int64_t kUnit = 64;  // columns
  const Rows& gate = glu.gate_rows;
  const int64_t number = gate.number(), width = gate.columns, units = (width + kUnit - 1) / kUnit;
  const int64_t grain = std::max<int64_t>(1, kGrain / number / kUnit);
  at::parallel_for(0, units, grain, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kUnit, columns = std::min(end * kUnit, width) - first;
    const int64_t tile_rows = std::max<int64_t>(16, kTile / columns / 16 * 16);
    const at::Tensor inputs = at::empty({contiguous ? tile_rows : 0, columns}, at::kFloat);
    const at::Tensor outputs = at::empty({tile_rows, columns}, at::kFloat);
    const auto* activations = reinterpret_cast<const uint32_t*>(outputs.const_data_ptr<float>());
    Strip<Float32> strip(glu.sums, first, columns, width);
    for (int64_t top = start, rows; top < number; top += rows) {
      const int64_t left = gate.inner - top % gate.inner;  // rows at one stride
      rows = std::min(tile_rows, left);
      if (left == rows + 1) --rows;  // a single row would be contiguous, although the gate is not
      auto* start = const_cast<uint32_t*>(glu.gate + gate.offset(top) + first);
      at::Tensor input = at::from_blob(start, {rows, columns}, {gate.inner_stride, 1}, at::kFloat);
      at::Tensor output = outputs.narrow(0, 0, rows);
      // Eager torch has two implementations, and takes the one for the whole gate: contiguous or not. A
      // transposed tile is not contiguous, and is still read in the same order.
      if (contiguous) {
        input = inputs.narrow(0, 0, rows).copy_(input);
      } else {
        input = input.t();
        output = output.t();
      }
      eager_activation(kind, input, output);
      for (int64_t r = 0; r < rows; ++r) {
        glu.finish_row(activations + r * columns, top + r, first, columns, strip);
      }
      strip.finish();  // the tile is about to be written again
    }
  });
}

#ifdef LAPE_X86
// Eager torch takes 16 elements at a time, and one by one the last ones that are fewer. They lie in the rows
// after the last whole group of this many.
constexpr int64_t kVectorRows = 16;

// silu of eight values, with the bits of eager torch's AVX2 code: x / (1 + exp(-x)), where exp is Sleef's.
LAPE_AVX2_INLINE __m256 silu_8(__m256 x) {
  // Below -87, exp(y) is lost beside 1. Above 89, it is infinite. NaN stays, as it is the second operand.
  __m256 y = _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
  y = _mm256_min_ps(_mm256_set1_ps(89.0f), _mm256_max_ps(_mm256_set1_ps(-87.0f), y));
  // exp(y) = 2^n exp(r), where ln(2) has two parts.
  const __m256i n = _mm256_cvtps_epi32(_mm256_mul_ps(y, _mm256_set1_ps(1.44269504f)));
  const __m256 whole = _mm256_cvtepi32_ps(n);
  __m256 r = _mm256_fnmadd_ps(whole, _mm256_set1_ps(0.693145752f), y);
  r = _mm256_fnmadd_ps(whole, _mm256_set1_ps(1.42860677e-6f), r);
  __m256 p = _mm256_fmadd_ps(r, _mm256_set1_ps(1.98527618e-4f), _mm256_set1_ps(1.39304355e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(8.33336078e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(4.16664854e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.66666672e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
  p = _mm256_fmadd_ps(_mm256_mul_ps(r, r), p, r);
  // 2 exp(r) times 2^(n - 1), because 2^n may be infinite where exp(y) is finite.
  p = _mm256_fmadd_ps(p, _mm256_set1_ps(2.0f), _mm256_set1_ps(2.0f));
  const __m256i power = _mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(126)), 23);
  const __m256 exponential = _mm256_mul_ps(p, _mm256_castsi256_ps(power));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), exponential));
}

LAPE_AVX2_INLINE void silu_16(const uint32_t* x, uint32_t* result) {
  for (int k = 0; k < 16; k += 8) {
    store_bits(result + k, _mm256_castps_si256(silu_8(_mm256_castsi256_ps(load_bits(x + k)))));
  }
}

LAPE_AVX2 void silu_row(const uint32_t* gate, const Ahead<uint32_t>& ahead, int64_t columns,
                        uint32_t* activation) {
  int64_t c = 0;
  for (; c + 16 <= columns; c += 16) {
    ahead.fetch(c);
    silu_16(gate + c, activation + c);
  }
  if (c == columns) return;
  uint32_t rest[16] = {};
  std::copy(gate + c, gate + columns, rest);
  silu_16(rest, rest);
  std::copy_n(rest, columns - c, activation + c);
}

// Whether eager torch runs its AVX2 code, and silu_row has its bits. It has those of torch 2.13 on every
// float. Another torch may compute silu in another way, so that one float of each upper half is compared.
bool has_silu() {
  static const bool equal = [] {
    if (simd_level() != Simd::avx2 || at::get_cpu_capability() != "AVX2") return false;
    constexpr int64_t kFloats = int64_t{1} << 16;
    std::vector<uint32_t> bits(kFloats), expected(kFloats), result(kFloats);
    for (int64_t k = 0; k < kFloats; ++k) bits[k] = static_cast<uint32_t>(k << 16 | (k * 40503 & 0xffff));
    at::Tensor output = at::from_blob(expected.data(), {kFloats}, at::kFloat);
    eager_activation(Activation::silu, at::from_blob(bits.data(), {kFloats}, at::kFloat), output);
    silu_row(bits.data(), {bits.data(), bits.data(), bits.data()}, kFloats, result.data());
    return result == expected;
  }();
  return equal;
}
#endif

template <typename Format>
void run(Activation kind, const at::Tensor& gate, const Rows& gate_rows, const at::Tensor& up,
         const Rows& up_rows, bool contiguous, at::Tensor& out, const int64_t* group, const Sums& sums) {
  using Bits = typename Format::Bits;
  const Glu<Format> glu{static_cast<const Bits*>(gate.const_data_ptr()),
                        up.defined() ? static_cast<const Bits*>(up.const_data_ptr()) : nullptr,
                        gate_rows,
                        up_rows,
                        static_cast<Bits*>(out.mutable_data_ptr()),
                        group,
                        sums};
  if constexpr (std::is_same_v<Format, Float32>) {
    int64_t start = 0;
#ifdef LAPE_X86
    if (kind == Activation::silu && contiguous && has_silu()) {
      start = gate_rows.number() / kVectorRows * kVectorRows;
      run_rows(glu, start, silu_row);
    }
#endif
    if (start < gate_rows.number()) run_eager(glu, kind, contiguous, start);
  } else {
    const uint16_t* table = activation_table(kind, gate.scalar_type(), contiguous);
    run_rows(glu, gate_rows.number(), [table](const auto&... arguments) { look_up(table, arguments...); });
  }
}

// `out` is contiguous and may be the gate itself: a tile of activations is read before its product is
// written.
void write_product(const at::Tensor& gate, const std::optional<at::Tensor>& up, std::string_view activation,
                   const std::optional<at::Tensor>& group, const Sums& sums, at::Tensor& out) {
  const Activation kind = parse_activation(activation);
  const auto [gates, gate_rows] = as_rows(gate);
  const auto [ups, up_rows] = up.has_value() ? as_rows(*up) : std::tuple{at::Tensor(), gate_rows};
  const int64_t* groups = group.has_value() ? group->const_data_ptr<int64_t>() : nullptr;
  const bool contiguous = gate.is_contiguous();  // which its rows, where they had to be copied, always are
  add_group_rows(groups, gate_rows.number(), sums);
  if (gate.numel() == 0) return;
  switch (gate.scalar_type()) {
    case at::kFloat:
      return run<Float32>(kind, gates, gate_rows, ups, up_rows, contiguous, out, groups, sums);
    case at::kBFloat16:
      return run<BFloat16>(kind, gates, gate_rows, ups, up_rows, contiguous, out, groups, sums);
    default:
      return run<Float16>(kind, gates, gate_rows, ups, up_rows, contiguous, out, groups, sums);
  }
}

at::Tensor glu_stats(const at::Tensor& gate, const std::optional<at::Tensor>& up, std::string_view activation,
                     const std::optional<at::Tensor>& group, at::ArrayRef<double> thresholds,
                     at::Tensor count, at::Tensor total, at::Tensor square, at::Tensor above,
                     at::Tensor rows) {
  check_glu(gate, up);
  const Sums sums = checked_sums(gate, group, thresholds, count, total, square, above, rows);
  at::Tensor out = at::empty(gate.sizes(), gate.options());
  write_product(gate, up, activation, group, sums, out);
  return out;
}

void glu_stats_(at::Tensor gate, const std::optional<at::Tensor>& up, std::string_view activation,
                const std::optional<at::Tensor>& group, at::ArrayRef<double> thresholds, at::Tensor count,
                at::Tensor total, at::Tensor square, at::Tensor above, at::Tensor rows) {
  check_glu(gate, up);
  TORCH_CHECK(gate.is_contiguous(), "gate must be contiguous to be overwritten");
  const Sums sums = checked_sums(gate, group, thresholds, count, total, square, above, rows);
  write_product(gate, up, activation, group, sums, gate);
}

}  // namespace

TORCH_LIBRARY_IMPL(lape, CPU, library) {
  library.impl("glu_stats", glu_stats);
  library.impl("glu_stats_", glu_stats_);
}

}  // namespace lape
