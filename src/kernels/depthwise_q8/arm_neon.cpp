// Depthwise convolution by NEON, 16 channels of one output at a time: inputs widened to s16, smlal. Exact.
#include "kernels/conv_q8/arm_requantize.h"
#include "kernels/conv_q8/packed.h"
#include "kernels/depthwise_q8/entries.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kStrip = 16;

std::int64_t outside_bytes(const ConvShape& s) { return round_up(s.c + kStrip, 64); }
std::int64_t worker_bytes(const ConvShape& s) { return outside_bytes(s) + round_up(s.kh * s.kw * 8, 64); }

// pointers: of each tap the pixel's first channel.
void compute(const ConvShape& s, const ConvArgs& a, const std::uint8_t* const* pointers, std::int64_t pixel,
             std::int64_t channel) {
  const std::int64_t taps = s.kh * s.kw, left = s.c - channel;
  const auto* weights = static_cast<const std::int16_t*>(a.packed) + channel * taps;
  int32x4_t sums[kQuads] = {};
  for (std::int64_t tap = 0; tap < taps; ++tap, weights += kStrip) {
    const uint8x16_t bytes = vld1q_u8(pointers[tap] + channel);
    const int16x8_t x0 = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))), x1 = vreinterpretq_s16_u16(vmovl_high_u8(bytes));
    const int16x8_t w0 = vld1q_s16(weights), w1 = vld1q_s16(weights + 8);
    sums[0] = vmlal_s16(sums[0], vget_low_s16(x0), vget_low_s16(w0));
    sums[1] = vmlal_high_s16(sums[1], x0, w0);
    sums[2] = vmlal_s16(sums[2], vget_low_s16(x1), vget_low_s16(w1));
    sums[3] = vmlal_high_s16(sums[3], x1, w1);
  }
  const Epilogue epilogue(a, channel, left < kStrip ? static_cast<int>(left) : kStrip);
  epilogue.store(sums, pixel, pixel * s.dst_stride + channel);
}

}  // namespace

std::size_t depthwise_workspace_neon(const ConvShape& s, int workers) {
  return static_cast<std::size_t>(worker_bytes(s) * workers);
}

void depthwise_u8s8s32_1x1x16_neon(const ConvShape& s, const ConvArgs& a, int worker, int workers) noexcept {
  auto* outside = static_cast<std::uint8_t*>(a.workspace) + worker_bytes(s) * worker;  // a pixel of zero points
  auto* pointers = reinterpret_cast<const std::uint8_t**>(outside + outside_bytes(s));
  __builtin_memset(outside, a.src_zero_point, static_cast<std::size_t>(outside_bytes(s)));
  const std::int64_t strips = (s.c + kStrip - 1) / kStrip;
  const Portion units = part(s.n * s.oh * s.ow * strips, worker, workers);
  for (std::int64_t unit = units.begin; unit < units.end;) {
    const std::int64_t pixel = unit / strips, image = pixel / (s.oh * s.ow);
    const std::int64_t y = pixel / s.ow % s.oh * s.stride_h - s.pad_top, x = pixel % s.ow * s.stride_w - s.pad_left;
    const std::uint8_t** pointer = pointers;
    for (std::int64_t i = 0; i < s.kh; ++i)
      for (std::int64_t j = 0; j < s.kw; ++j) {
        const std::int64_t iy = y + i * s.dilation_h, ix = x + j * s.dilation_w;
        const bool inside = iy >= 0 && iy < s.h && ix >= 0 && ix < s.w;
        *pointer++ = inside ? a.src + ((image * s.h + iy) * s.w + ix) * s.src_stride : outside;
      }
    const std::int64_t end = (pixel + 1) * strips < units.end ? (pixel + 1) * strips : units.end;
    for (; unit < end; ++unit) compute(s, a, pointers, pixel, unit % strips * kStrip);
  }
}

}  // namespace zeropoint::kernels
