// The sums of activation statistics, as the kernels add to them. No torch header.
#pragma once

#include <cstdint>

namespace lape {

constexpr int kMaxThresholds = 4;

// Per group g and column c, at [g * columns + c]; `above` has a block of groups * columns a threshold.
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
