// Dense and grouped convolution by usmmla: 2 pixels x 8 channels times 8 channels x 2 outputs, added exactly to 2x2 sums.
#include "kernels/conv_q8/arm_tiles.h"
#include "kernels/conv_q8/entries.h"

namespace zeropoint::kernels {
namespace {

struct QwordDot {
  using Requantize = kernels::Requantize;
  using Element = std::uint8_t;
  static constexpr int kChannels = 8, kCopied = 16;
  static constexpr bool kNeedsSums = true;
  static constexpr int kWeightOffset = 0;
  static constexpr bool kInPlace = false;
  static constexpr std::int64_t kDepthPart = std::int64_t{1} << 40;  // all

  static void copy(Element* to, const std::uint8_t* from) { vst1q_u8(to, vld1q_u8(from)); }
  static std::int32_t total(const std::uint8_t* in, std::int64_t count) { return plain_total(in, count); }

  template <int kRows>
  static __attribute__((always_inline)) void multiply(const std::uint8_t* panel, std::int64_t pitch, const std::int8_t* weights,
                                                      std::int64_t steps, int32x4_t (&sums)[kRows][kQuads]) {
    constexpr int kPairs = (kRows + 1) / 2;
    int32x4_t squares[kPairs][8];  // [rows 2i, 2i + 1][outputs 2j, 2j + 1]
#pragma GCC unroll 3
    for (auto& row : squares)
#pragma GCC unroll 8
      for (int32x4_t& square : row) square = vdupq_n_s32(0);
    for (std::int64_t step = 0; step < steps; ++step, panel += 8, weights += 128) {
      uint8x16_t x[kPairs];
#pragma GCC unroll 3
      for (int i = 0; i < kPairs; ++i) {
        const int second = 2 * i + 1 < kRows ? 2 * i + 1 : 2 * i;  // an odd last row is computed twice
        x[i] = vcombine_u8(vld1_u8(panel + 2 * i * pitch), vld1_u8(panel + second * pitch));
      }
#pragma GCC unroll 8
      for (int j = 0; j < 8; ++j) {
        const int8x16_t w = vld1q_s8(weights + 16 * j);
#pragma GCC unroll 3
        for (int i = 0; i < kPairs; ++i) squares[i][j] = vusmmlaq_s32(squares[i][j], x[i], w);
      }
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int q = 0; q < kQuads; ++q) {
        const int64x2_t a = vreinterpretq_s64_s32(squares[r / 2][2 * q]), b = vreinterpretq_s64_s32(squares[r / 2][2 * q + 1]);
        sums[r][q] = vreinterpretq_s32_s64(r % 2 == 0 ? vtrn1q_s64(a, b) : vtrn2q_s64(a, b));
      }
  }
};

}  // namespace

std::size_t conv_workspace_6x16x8_neoni8mm(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(conv_worker_bytes<QwordDot>(s) * workers);
}

void conv_u8s8s32_6x16x8_neoni8mm(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  run_conv<QwordDot>(s, a, worker, workers);
}

}  // namespace zeropoint::kernels
