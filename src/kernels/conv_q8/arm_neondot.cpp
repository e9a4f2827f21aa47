// Dense and grouped convolution by udot, exact. It takes no signed weights: packing adds 128 to them, and the sums of the
// inputs, which weight zero points need anyway, take it away.
#include "kernels/conv_q8/arm_tiles.h"
#include "kernels/conv_q8/entries.h"

namespace zeropoint::kernels {
namespace {

struct DwordDot {
  using Requantize = kernels::Requantize;
  using Element = std::uint8_t;
  static constexpr int kChannels = 4, kCopied = 16;
  static constexpr bool kNeedsSums = true;
  static constexpr int kWeightOffset = 128;
  static constexpr bool kInPlace = false;
  static constexpr std::int64_t kDepthPart = std::int64_t{1} << 40;  // all

  static void copy(Element* to, const std::uint8_t* from) { vst1q_u8(to, vld1q_u8(from)); }
  static std::int32_t total(const std::uint8_t* in, std::int64_t count) {
    uint32x4_t sums = vdupq_n_u32(0);
    const std::int64_t whole = count & ~std::int64_t{15};
    for (std::int64_t k = 0; k < whole; k += 16) sums = vdotq_u32(sums, vld1q_u8(in + k), vdupq_n_u8(1));
    return static_cast<std::int32_t>(vaddvq_u32(sums)) + plain_total(in + whole, count - whole);
  }

  template <int kRows>
  static __attribute__((always_inline)) void multiply(const std::uint8_t* panel, std::int64_t pitch, const std::int8_t* packed,
                                                      std::int64_t steps, int32x4_t (&sums)[kRows][kQuads]) {
    const auto* weights = reinterpret_cast<const std::uint8_t*>(packed);
    for (std::int64_t step = 0; step < steps; ++step, panel += 4, weights += 64) {
      const uint8x16_t w[kQuads] = {vld1q_u8(weights), vld1q_u8(weights + 16), vld1q_u8(weights + 32), vld1q_u8(weights + 48)};
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) {
        std::uint32_t dword;
        __builtin_memcpy(&dword, panel + r * pitch, 4);
#pragma GCC unroll 4
        for (int q = 0; q < kQuads; ++q)
          sums[r][q] = vreinterpretq_s32_u32(vdotq_lane_u32(vreinterpretq_u32_s32(sums[r][q]), w[q], vcreate_u8(dword), 0));
      }
    }
  }
};

}  // namespace

std::size_t conv_workspace_6x16x4_neondot(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(conv_worker_bytes<DwordDot>(s) * workers);
}

void conv_u8s8s32_6x16x4_neondot(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  run_conv<DwordDot>(s, a, worker, workers);
}

}  // namespace zeropoint::kernels
