// Dense and grouped convolution by NEON of the first generation: inputs and weights widened to s16, smlal. Always exact; the
// 8-bit products take signed or unsigned operands but not one of each. s16 also holds w - weight_zero_point.
#include "kernels/conv_q8/arm_tiles.h"
#include "kernels/conv_q8/entries.h"

namespace zeropoint::kernels {
namespace {

struct WordDot {
  using Requantize = kernels::Requantize;
  using Element = std::int16_t;
  static constexpr int kChannels = 2, kCopied = 16;
  static constexpr bool kNeedsSums = false;
  static constexpr int kWeightOffset = 0;
  static constexpr bool kInPlace = false;
  static constexpr std::int64_t kDepthPart = std::int64_t{1} << 40;  // all

  static void copy(Element* to, const std::uint8_t* from) {
    const uint8x16_t bytes = vld1q_u8(from);
    vst1q_s16(to, vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))));
    vst1q_s16(to + 8, vreinterpretq_s16_u16(vmovl_high_u8(bytes)));
  }

  template <int kRows>
  static __attribute__((always_inline)) void multiply(const std::uint8_t* panel, std::int64_t pitch, const std::int8_t* packed,
                                                      std::int64_t steps, int32x4_t (&sums)[kRows][kQuads]) {
    const auto* weights = reinterpret_cast<const std::int16_t*>(packed);
    for (std::int64_t step = 0; step < steps; ++step, panel += 4, weights += 32) {
      const int16x8x2_t w0 = vld2q_s16(weights), w1 = vld2q_s16(weights + 16);  // [channel] of 8 outputs
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        std::uint32_t pair;
        __builtin_memcpy(&pair, panel + r * pitch, 4);
        const int16x4_t x = vcreate_s16(pair);
        sums[r][0] = vmlal_lane_s16(sums[r][0], vget_low_s16(w0.val[0]), x, 0);
        sums[r][1] = vmlal_high_lane_s16(sums[r][1], w0.val[0], x, 0);
        sums[r][2] = vmlal_lane_s16(sums[r][2], vget_low_s16(w1.val[0]), x, 0);
        sums[r][3] = vmlal_high_lane_s16(sums[r][3], w1.val[0], x, 0);
        sums[r][0] = vmlal_lane_s16(sums[r][0], vget_low_s16(w0.val[1]), x, 1);
        sums[r][1] = vmlal_high_lane_s16(sums[r][1], w0.val[1], x, 1);
        sums[r][2] = vmlal_lane_s16(sums[r][2], vget_low_s16(w1.val[1]), x, 1);
        sums[r][3] = vmlal_high_lane_s16(sums[r][3], w1.val[1], x, 1);
      }
    }
  }
};

}  // namespace

std::size_t conv_workspace_6x16x2_neon(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(conv_worker_bytes<WordDot>(s) * workers);
}

void conv_u8s8s32_6x16x2_neon(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  run_conv<WordDot>(s, a, worker, workers);
}

}  // namespace zeropoint::kernels
