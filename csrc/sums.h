// The sums of activation statistics that the kernels add to. This file includes no torch header.
#pragma once

#include <cstdint>

namespace lape {

constexpr int kMaxThresholds = 4;

// The sum of group g and column c is at [g * columns + c]. `above` has a block of groups * columns per
// threshold.
struct Sums {
  int64_t* count;
  double* total;
  double* square;
  int64_t* above;
  int64_t* rows;  // [groups]
  int64_t groups;
  int thresholds;
  float threshold[kMaxThresholds];
};

}  // namespace lape
