// The edit of one activation, for the CPU and the GPU. This file includes no torch header.
#pragma once

#include "number.h"

namespace lape {

enum Mode : int64_t { kSet, kMax, kAdd, kScale, kModes };

// Several perturbations as one list of edits. Perturbation p edits index[offset[p]] ... index[offset[p + 1] -
// 1].
struct Edits {
  const int64_t* index;
  const int64_t* mode;
  const float* value;
  const int64_t* offset;
  int64_t perturbations;
};

// Edits one activation in float32 and rounds it back. Returns whether its value has changed; two NaNs count
// as equal.
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
