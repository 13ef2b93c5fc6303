// One loop body compiled for several instruction sets, the widest that the processor has chosen at run time.
#pragma once

#include "number.h"

#if defined(__GNUC__) && defined(__x86_64__)
#define LAPE_X86 1
#define LAPE_AVX2 __attribute__((target("avx2,fma")))
#define LAPE_AVX512 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")))
#endif

namespace lape {

enum class Simd { baseline, avx2, avx512 };

// The level in use: the processor's, or the lower one named by the environment variable LAPE_SIMD.
// Throws std::runtime_error where that names a level that does not exist here.
Simd simd_level();
const char* simd_name(Simd level);

#ifdef LAPE_X86
// Body::run must be LAPE_INLINE, and all that it calls: only inlined code takes on these targets.
template <typename Body, typename... Arguments>
LAPE_AVX2 void run_avx2(Arguments... arguments) {
  Body::run(arguments...);
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
