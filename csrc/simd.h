// One loop body that is compiled for several instruction sets. At run time the widest set of the processor is
// chosen.
#pragma once

#include <type_traits>

#include "number.h"

#if defined(__GNUC__) && defined(__x86_64__)
#define LAPE_X86 1
#define LAPE_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LAPE_AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl")))
#endif

namespace lape {

enum class Simd { baseline, avx2, avx512 };

// The level in use: the processor's, or a lower one that the environment variable LAPE_SIMD names. Throws
// std::runtime_error where LAPE_SIMD names a level that the processor does not have.
Simd simd_level();
const char* simd_name(Simd level);

#ifdef LAPE_X86
// Whether a body has, besides Body::run, Body::avx2: the same loop, written by hand for AVX2.
template <typename Body, typename = void>
constexpr bool kHasAvx2 = false;
template <typename Body>
constexpr bool kHasAvx2<Body, std::void_t<decltype(&Body::avx2)>> = true;

// Body::run, and all that it calls, must be LAPE_INLINE: only inlined code is compiled for these targets.
template <typename Body, typename... Arguments>
LAPE_AVX2 void run_avx2(Arguments... arguments) {
  if constexpr (kHasAvx2<Body>) {
    Body::avx2(arguments...);
  } else {
    Body::run(arguments...);
  }
}

template <typename Body, typename... Arguments>
LAPE_AVX512 void run_avx512(Arguments... arguments) {
  Body::run(arguments...);
}
#endif

template <typename Body, typename... Arguments>
void run_simd([[maybe_unused]] Simd level, Arguments... arguments) {
#ifdef LAPE_X86
  if (level == Simd::avx512) return run_avx512<Body>(arguments...);
  if (level == Simd::avx2) return run_avx2<Body>(arguments...);
#endif
  Body::run(arguments...);
}

}  // namespace lape
