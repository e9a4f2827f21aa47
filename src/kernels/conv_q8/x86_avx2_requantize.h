// The epilogue in AVX2 registers, for the kernel files of that family. Internal linkage throughout: see packed.h.
#pragma once

#include <immintrin.h>

#include "kernels/conv_q8/conv_args.h"

namespace zeropoint::kernels {
namespace {

// All ones in the first `count` of 8 lanes.
[[maybe_unused]] __m256i first_lanes(std::int64_t count) {
  const int bounded = count < 8 ? static_cast<int>(count) : 8;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(bounded), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

struct Requantize {
  __m256 low, high;
  __m256i zero_point;

  explicit Requantize(const ConvArgs& a)
      : low(_mm256_set1_ps(a.low)),
        high(_mm256_set1_ps(a.high)),
        zero_point(_mm256_set1_epi16(static_cast<short>(a.dst_zero_point))) {}

  // v > low ? (v < high ? v : high) : low
  __attribute__((always_inline)) __m256 clamped(__m256i sum, __m256 scale) const {
    return _mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale), low), high);
  }
  // Packs work within 128-bit lanes: lane i holds 4 values of v0 and of v1 each, from their lanes i.
  __attribute__((always_inline)) __m256i words(__m256 v0, __m256 v1) const {
    return _mm256_add_epi16(_mm256_packs_epi32(_mm256_cvtps_epi32(v0), _mm256_cvtps_epi32(v1)), zero_point);
  }
};

[[maybe_unused]] void copy_bytes(void* to, const void* from, std::int64_t count) {
  __builtin_memcpy(to, from, static_cast<std::size_t>(count));
}

}  // namespace
}  // namespace zeropoint::kernels
