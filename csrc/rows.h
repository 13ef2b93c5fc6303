// A matrix whose rows lie at two strides, such as a slice of a batch. This file includes no torch header.
#pragma once

#include "number.h"

namespace lape {

struct Rows {
  int64_t outer, inner;                // row r is (r / inner, r % inner)
  int64_t outer_stride, inner_stride;  // in elements
  int64_t columns;                     // contiguous within a row

  LAPE_INLINE int64_t number() const { return outer * inner; }
  LAPE_INLINE int64_t offset(int64_t row) const {
    return row / inner * outer_stride + row % inner * inner_stride;
  }
};

}  // namespace lape
