// What a transpose is made of, for any element size; x86_tiles.h and arm_tiles.h hold better ones. Internal linkage: for ISA
// files.
#pragma once

#include <stdint.h>

#include "kernels/layout/layout_functions.h"

namespace zeropoint::kernels {
namespace {

// Full tiles, rows x columns = kTile x kTile elements: dst[c * dst_stride + r] = src[r * src_stride + c].
template <class T>
struct Tile {
  static constexpr int64_t kTile = 8;
  static void transpose(const T* src, int64_t src_stride, T* dst, int64_t dst_stride) {
    for (int64_t c = 0; c < kTile; ++c)
      for (int64_t r = 0; r < kTile; ++r) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
};

// What an ISA does for a narrow shape as a whole, such as three planes; false: not this one.
template <class T>
inline bool transpose_narrow(const T*, const TransposeShape&, int64_t, int64_t, T*) {
  return false;
}

}  // namespace
}  // namespace zeropoint::kernels
