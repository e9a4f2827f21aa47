// The epilogue in NEON registers, for the kernel files of that family. Internal linkage throughout: see packed.h.
#pragma once

#include <arm_neon.h>

#include "kernels/conv_q8/packed.h"

namespace zeropoint::kernels {
namespace {

constexpr int kQuads = 4;  // registers of 4 lanes that hold the sums of 16 output channels

// The first `count` of 4 lanes; a negative count is 0, one above 4 is 4.
constexpr std::size_t lane_bytes(int count) { return count > 4 ? 16 : count > 0 ? static_cast<std::size_t>(count) * 4 : 0; }
template <class Vector, class T>
Vector load_lanes(const T* from, int count) {
  Vector v{};
  if (count >= 4) {
    __builtin_memcpy(&v, from, 16);
  } else {
    __builtin_memcpy(&v, from, lane_bytes(count));
  }
  return v;
}
template <class Vector, class T>
void store_lanes(T* to, Vector v, int count) {
  if (count >= 4) {
    __builtin_memcpy(to, &v, 16);
  } else {
    __builtin_memcpy(to, &v, lane_bytes(count));
  }
}

struct Requantize {  // what panel.h asks for; Epilogue needs nothing of it
  Requantize(const ConvArgs&, const PackedHeader&, std::int64_t) {}
};

// Of `count` <= 16 neighbouring output channels.
class Epilogue {
 public:
  Epilogue(const ConvArgs& a, std::int64_t channel, int count) : args_(a), channel_(channel), count_(count) {
    for (int q = 0; q < kQuads; ++q) {
      comp_[q] = load_lanes<int32x4_t>(a.comp + channel + 4 * q, count - 4 * q);
      if (a.scale) scale_[q] = load_lanes<float32x4_t>(a.scale + channel + 4 * q, count - 4 * q);
    }
  }

  // Finishes the sums of one pixel and stores them from dst[index] on.
  void store(const int32x4_t (&sums)[kQuads], std::int64_t pixel, std::int64_t index) const {
    if (args_.output == ConvOutput::u8) return store_u8(sums, static_cast<std::uint8_t*>(args_.dst) + index);
    auto* out = static_cast<std::int32_t*>(args_.dst) + index;  // or float: bits are bits
    for (int q = 0; q < kQuads; ++q) {
      const int left = count_ - 4 * q;
      const int32x4_t sum = vaddq_s32(sums[q], comp_[q]);
      if (args_.output == ConvOutput::s32) {
        store_lanes(out + 4 * q, sum, left);
        continue;
      }
      float32x4_t v = vcvtq_f32_s32(sum);
      if (args_.row_scale) v = vmulq_n_f32(v, args_.row_scale[pixel]);
      v = vmulq_f32(v, scale_[q]);
      if (args_.bias) v = vaddq_f32(v, load_lanes<float32x4_t>(args_.bias + channel_ + 4 * q, left));
      store_lanes(out + 4 * q, clamped(v), left);
    }
  }

 private:
  // v > low ? (v < high ? v : high) : low
  float32x4_t clamped(float32x4_t v) const {
    const float32x4_t low = vdupq_n_f32(args_.low), high = vdupq_n_f32(args_.high);
    const float32x4_t t = vbslq_f32(vcgtq_f32(v, low), v, low);
    return vbslq_f32(vcltq_f32(t, high), t, high);
  }
  int16x4_t rounded(const int32x4_t (&sums)[kQuads], int q) const {
    const float32x4_t v = vcvtq_f32_s32(vaddq_s32(sums[q], comp_[q]));
    return vmovn_s32(vcvtnq_s32_f32(clamped(vmulq_f32(v, scale_[q]))));  // ties to even; limits keep it within 16 bits
  }
  void store_u8(const int32x4_t (&sums)[kQuads], std::uint8_t* out) const {
    const int16x8_t zero_point = vdupq_n_s16(static_cast<std::int16_t>(args_.dst_zero_point));
    const int16x8_t low = vaddq_s16(vcombine_s16(rounded(sums, 0), rounded(sums, 1)), zero_point);
    const int16x8_t high = vaddq_s16(vcombine_s16(rounded(sums, 2), rounded(sums, 3)), zero_point);
    const uint8x16_t bytes = vcombine_u8(vqmovun_s16(low), vqmovun_s16(high));
    if (count_ == 4 * kQuads) return vst1q_u8(out, bytes);
    __builtin_memcpy(out, &bytes, static_cast<std::size_t>(count_));
  }

  const ConvArgs& args_;
  std::int64_t channel_;
  int count_;
  int32x4_t comp_[kQuads];
  float32x4_t scale_[kQuads];
};

}  // namespace
}  // namespace zeropoint::kernels
