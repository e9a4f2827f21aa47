// Tiles of panel.h on NEON registers, for arm_neon.cpp, arm_neondot.cpp and arm_neoni8mm.cpp. Internal linkage throughout.
//
// 6 pixels x 16 channels of sums fill 24 of the 32 registers. `Dot` computes them all with
//   template <int kRows> void multiply(panel, bytes from row to row, weights, steps, int32x4_t (&sums)[kRows][kQuads])
#pragma once

#include "kernels/conv_q8/arm_requantize.h"
#include "kernels/conv_q8/panel.h"

namespace zeropoint::kernels {
namespace {

template <class Dot, int kRows>
__attribute__((noinline)) void compute_tile(const Tile<Dot>& t) {
  int32x4_t sums[kRows][kQuads];
#pragma GCC unroll 6
  for (auto& row : sums)
#pragma GCC unroll 4
    for (int32x4_t& quad : row) quad = vdupq_n_s32(0);
  const std::int64_t pitch = t.panel_pitch * static_cast<std::int64_t>(sizeof(typename Dot::Element));
  Dot::template multiply<kRows>(reinterpret_cast<const std::uint8_t*>(t.panel), pitch, t.weights, t.steps, sums);
  if (Dot::kNeedsSums && t.sums) {
#pragma GCC unroll 4
    for (int q = 0; q < kQuads; ++q) {
      const int32x4_t zero_points = vaddq_s32(vld1q_s32(t.weight_zero_points + 4 * q), vdupq_n_s32(Dot::kWeightOffset));
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) sums[r][q] = vmlsq_n_s32(sums[r][q], zero_points, t.sums[r]);
    }
  }
  const Epilogue epilogue(*t.args, t.channel, t.channels);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) epilogue.store(sums[r], t.pixel + r, (t.pixel + r) * t.dst_stride + t.channel);
}

}  // namespace
}  // namespace zeropoint::kernels
