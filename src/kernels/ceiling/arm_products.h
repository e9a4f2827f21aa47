// One product of bytes over and over, for the instruction sets that have one. Internal linkage: each file owns its copy,
// compiled with its own flags.
#pragma once

#include <arm_neon.h>

#include "kernels/ceiling/ceiling_functions.h"

namespace zeropoint::kernels {
namespace {

// sum = product(sum, x, w)
template <class Product>
inline __attribute__((always_inline)) void repeat_product(void* data, std::int64_t passes, const Product& product) {
  int32x4_t sums[kCeilingSums];
#pragma GCC unroll 12
  for (int32x4_t& sum : sums) sum = vdupq_n_s32(0);
  const int8x16_t x = vld1q_s8(static_cast<const std::int8_t*>(data));
  const int8x16_t w = vld1q_s8(static_cast<const std::int8_t*>(data) + 16);
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (int32x4_t& sum : sums) {
      sum = product(sum, x, w);
      asm volatile("" : "+w"(sum));
    }
  }
  int32x4_t total = sums[0];
#pragma GCC unroll 12
  for (int k = 1; k < kCeilingSums; ++k) total = vaddq_s32(total, sums[k]);
  vst1q_s32(static_cast<std::int32_t*>(data), total);
}

}  // namespace
}  // namespace zeropoint::kernels
