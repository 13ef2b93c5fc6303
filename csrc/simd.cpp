#include "simd.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace lape {
namespace {

Simd detect() {
#ifdef LAPE_X86
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return wide ? Simd::avx512 : Simd::avx2;
  }
#endif
  return Simd::baseline;
}

Simd choose() {
  const Simd best = detect();
  const char* wanted = std::getenv("LAPE_SIMD");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (const Simd level : {Simd::baseline, Simd::avx2, Simd::avx512}) {
    if (level <= best && std::string(wanted) == simd_name(level)) return level;
  }
  throw std::runtime_error(std::string("LAPE_SIMD=") + wanted +
                           " is not available here; unset it, or use one of baseline, avx2, avx512 up to " +
                           simd_name(best));
}

}  // namespace

Simd simd_level() {
  static const Simd level = choose();
  return level;
}

const char* simd_name(Simd level) {
  switch (level) {
    case Simd::avx512:
      return "avx512";
    case Simd::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

}  // namespace lape
