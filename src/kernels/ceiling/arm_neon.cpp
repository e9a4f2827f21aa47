#include <arm_neon.h>

#include "kernels/ceiling/ceiling_functions.h"

namespace zeropoint::kernels {

// Exact for every u8 x s8: 16-bit operands, four multiply-accumulates an instruction.
void ceiling_int8_neon(void* data, std::int64_t passes) noexcept {
  int32x4_t sums[kCeilingSums];
#pragma GCC unroll 12
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  int16x4_t x = vget_low_s16(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(static_cast<const std::uint8_t*>(data)))));
  const int16x4_t w = vget_low_s16(vmovl_s8(vld1_s8(static_cast<const std::int8_t*>(data) + 8)));
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (int32x4_t& sum : sums) {
      sum = vmlal_s16(sum, x, w);
      asm volatile("" : "+w"(sum));
    }
  }
  int32x4_t total = sums[0];
#pragma GCC unroll 12
  for (int k = 1; k < kCeilingSums; ++k) total = vaddq_s32(total, sums[k]);
  vst1q_s32(static_cast<std::int32_t*>(data), total);
}

void ceiling_fp32_neon(void* data, std::int64_t passes) noexcept {
  float32x4_t sums[kCeilingSums];
#pragma GCC unroll 12
  for (float32x4_t& sum : sums) sum = vdupq_n_f32(0);
  const int16x8_t bytes = vmovl_s8(vld1_s8(static_cast<const std::int8_t*>(data)));
  float32x4_t x = vcvtq_f32_s32(vmovl_s16(vget_low_s16(bytes)));
  const float32x4_t w = vcvtq_f32_s32(vmovl_s16(vget_high_s16(bytes)));
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (float32x4_t& sum : sums) {
      sum = vfmaq_f32(sum, x, w);
      asm volatile("" : "+w"(sum));
    }
  }
  float32x4_t total = sums[0];
#pragma GCC unroll 12
  for (int k = 1; k < kCeilingSums; ++k) total = vaddq_f32(total, sums[k]);
  vst1q_f32(static_cast<float*>(data), total);
}

}  // namespace zeropoint::kernels
