// Reading several neighbouring values at once.
#pragma once

#include "kernels.h"

namespace lape {

template <typename Bits, int width>
struct alignas(sizeof(Bits) * width) Pack {
  Bits values[width];
};

// Whether every row can be read in packs of this width: its start and its length are whole packs.
template <typename Bits, int width>
bool packs(const void* data, const Rows& rows) {
  const bool strides = (rows.outer == 1 || rows.outer_stride % width == 0) &&
                       (rows.inner == 1 || rows.inner_stride % width == 0);
  return strides && rows.columns % width == 0 &&
         reinterpret_cast<uintptr_t>(data) % (sizeof(Bits) * width) == 0;
}

}  // namespace lape
