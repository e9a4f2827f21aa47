// Tiles of NEON.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

#include "kernels/layout/tile.h"

namespace zeropoint::kernels {
namespace {

template <>
struct Tile<uint32_t> {
  static constexpr int64_t kTile = 4;
  static void transpose(const uint32_t* src, int64_t src_stride, uint32_t* dst, int64_t dst_stride) {
    const uint32x4x4_t rows = {
        {vld1q_u32(src), vld1q_u32(src + src_stride), vld1q_u32(src + 2 * src_stride), vld1q_u32(src + 3 * src_stride)}};
    const uint32x4_t a0 = vzip1q_u32(rows.val[0], rows.val[2]), a1 = vzip2q_u32(rows.val[0], rows.val[2]);
    const uint32x4_t b0 = vzip1q_u32(rows.val[1], rows.val[3]), b1 = vzip2q_u32(rows.val[1], rows.val[3]);
    vst1q_u32(dst, vzip1q_u32(a0, b0));
    vst1q_u32(dst + dst_stride, vzip2q_u32(a0, b0));
    vst1q_u32(dst + 2 * dst_stride, vzip1q_u32(a1, b1));
    vst1q_u32(dst + 3 * dst_stride, vzip2q_u32(a1, b1));
  }
};

template <>
struct Tile<uint8_t> {
  static constexpr int64_t kTile = 16;
  static void transpose(const uint8_t* src, int64_t src_stride, uint8_t* dst, int64_t dst_stride) {
    uint8x16_t x[16], y[16];
    for (int r = 0; r < 16; ++r) x[r] = vld1q_u8(src + r * src_stride);
    interleave(x, y);
    interleave(y, x);
    interleave(x, y);
    interleave(y, x);
    for (int c = 0; c < 16; ++c) vst1q_u8(dst + c * dst_stride, x[c]);
  }
  static void interleave(const uint8x16_t* from, uint8x16_t* to) {
    for (int r = 0; r < 8; ++r) {
      to[2 * r] = vzip1q_u8(from[r], from[r + 8]);
      to[2 * r + 1] = vzip2q_u8(from[r], from[r + 8]);
    }
  }
};

}  // namespace
}  // namespace zeropoint::kernels
