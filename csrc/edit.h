// What an edit of an activation does, for the CPU and the GPU alike. No torch header.
#pragma once

#include "number.h"

namespace lape {

enum Mode : int64_t { kSet, kMax, kAdd, kScale, kModes };

// Perturbation p edits index[offset[p]] ... index[offset[p + 1] - 1].
struct Edits {
  const int64_t* index;
  const int64_t* mode;
  const float* value;
  const int64_t* offset;
  int64_t perturbations;
};

// Edits one activation, in float32 and rounded back; returns whether its value is another one now
// (one NaN is as good as another).
template <typename Format>
LAPE_INLINE bool edit_value(typename Format::Bits& bits, int64_t mode, float value) {
  const float before = Format::to_float(bits);
  float after = value;
  if (mode == kMax) after = value > before ? value : before;  // false for NaN, which stays
  if (mode == kAdd) after = before + value;
  if (mode == kScale) after = before * value;
  const typename Format::Bits edited = Format::from_float(after);
  const float now = Format::to_float(edited);
  bits = edited;
  return now != before && (now == now || before == before);
}

}  // namespace lape
