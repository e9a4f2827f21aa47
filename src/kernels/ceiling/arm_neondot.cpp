#include <arm_neon.h>

#include "kernels/ceiling/ceiling_functions.h"

namespace zeropoint::kernels {

// One sdot: four multiply-accumulates a 32-bit sum.
void ceiling_int8_neondot(void* data, std::int64_t passes) noexcept {
  int32x4_t sums[kCeilingSums];
#pragma GCC unroll 12
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  int8x16_t x = vld1q_s8(static_cast<const std::int8_t*>(data));
  const int8x16_t w = vld1q_s8(static_cast<const std::int8_t*>(data) + 16);
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (int32x4_t& sum : sums) {
      sum = vdotq_s32(sum, x, w);
      asm volatile("" : "+w"(sum));
    }
  }
  int32x4_t total = sums[0];
#pragma GCC unroll 12
  for (int k = 1; k < kCeilingSums; ++k) total = vaddq_s32(total, sums[k]);
  vst1q_s32(static_cast<std::int32_t*>(data), total);
}

}  // namespace zeropoint::kernels
