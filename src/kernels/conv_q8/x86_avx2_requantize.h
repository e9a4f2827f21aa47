// The epilogue in AVX2 registers, for the kernel files of that family. Internal linkage throughout: see packed.h.
#pragma once

#include <immintrin.h>

#include "kernels/conv_q8/packed.h"

namespace zeropoint::kernels {
namespace {

// All ones in the first `count` of 8 lanes.
[[maybe_unused]] __m256i first_lanes(std::int64_t count) {
  const int bounded = count < 8 ? static_cast<int>(count) : 8;
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(bounded), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// v = float(acc + comp) * scale -> u8. x86_avx512_requantize.h says why clamping may follow rounding, and why a bias of
// 0x4B000000 saves an operation.
struct Requantize {
  static constexpr int kBias = 0x4B000000;
  static constexpr float kShift = -8388608.0F;

  __m256 high;
  __m256i zero_point, lowest, highest;
  bool narrow;   // the limits leave less than all of u8
  bool bounded;  // |v| < 2^31 for certain, as all scales are below 1
  bool biased;   // the form with one operation less is exact

  Requantize(const ConvArgs& a, const PackedHeader& header, std::int64_t outputs)
      : high(_mm256_set1_ps(a.high)),
        zero_point(_mm256_set1_epi16(static_cast<short>(a.dst_zero_point))),
        lowest(_mm256_set1_epi8(quantized(a, a.low))),
        highest(_mm256_set1_epi8(quantized(a, a.high))),
        narrow(quantized(a, a.low) != 0 || quantized(a, a.high) != static_cast<char>(255)),
        bounded(false),
        biased(false) {
    if (a.output != ConvOutput::u8) return;
    __m256 largest_scale = _mm256_setzero_ps(), least_scale = _mm256_setzero_ps();
    __m256i largest_comp = _mm256_setzero_si256();
    for (std::int64_t i = 0; i < outputs; i += 8) {
      const __m256i mask = first_lanes(outputs - i);
      const __m256 scale = _mm256_maskload_ps(a.scale + i, mask);
      largest_scale = _mm256_max_ps(largest_scale, scale);
      least_scale = _mm256_min_ps(least_scale, scale);
      largest_comp = _mm256_max_epu32(largest_comp, _mm256_abs_epi32(_mm256_maskload_epi32(a.comp + i, mask)));
    }
    alignas(32) float largest_scales[8], least_scales[8];
    alignas(32) std::uint32_t largest_comps[8];
    _mm256_store_ps(largest_scales, largest_scale), _mm256_store_ps(least_scales, least_scale);
    _mm256_store_si256(reinterpret_cast<__m256i*>(largest_comps), largest_comp);
    bool all_bounded = true, all_positive = true, all_small = true;
    for (int i = 0; i < 8; ++i) {
      all_bounded = all_bounded && largest_scales[i] < 1.0F && least_scales[i] > -1.0F;
      all_positive = all_positive && least_scales[i] >= 0;
      all_small = all_small && largest_comps[i] + static_cast<std::uint64_t>(header.largest_sum) < (1U << 23);
    }
    bounded = all_bounded;
    biased = all_bounded && all_positive && all_small && a.dst_zero_point == 0 && !header.has_weight_zero_points;
  }

  static char quantized(const ConvArgs& a, float limit) {  // other outputs may have infinite limits
    return a.output == ConvOutput::u8 ? static_cast<char>(static_cast<std::int32_t>(limit) + a.dst_zero_point) : char{0};
  }

  // acc + comp (+ kBias) -> v; shift = kShift * scale.
  template <bool kBiased>
  static __attribute__((always_inline)) __m256 value(__m256i sum, __m256 scale, __m256 shift) {
    return kBiased ? _mm256_fmadd_ps(_mm256_castsi256_ps(sum), scale, shift) : _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
  }

  // Packs work within 128-bit lanes: lane i of the words holds 4 values each of v0 and v1, from their lanes i; of the bytes, 8
  // each of a and b.
  template <bool kBiased>
  __attribute__((always_inline)) __m256i words(__m256 v0, __m256 v1) const {
    if (kBiased) return _mm256_packs_epi32(_mm256_cvtps_epi32(v0), _mm256_cvtps_epi32(v1));
    if (!bounded) v0 = _mm256_min_ps(v0, high), v1 = _mm256_min_ps(v1, high);
    return _mm256_adds_epi16(_mm256_packs_epi32(_mm256_cvtps_epi32(v0), _mm256_cvtps_epi32(v1)), zero_point);
  }
  __attribute__((always_inline)) __m256i bytes(__m256i a, __m256i b) const {
    const __m256i q = _mm256_packus_epi16(a, b);  // clamps to 0 ... 255
    return narrow ? _mm256_min_epu8(_mm256_max_epu8(q, lowest), highest) : q;
  }
};

[[maybe_unused]] void copy_bytes(void* to, const void* from, std::int64_t count) {
  __builtin_memcpy(to, from, static_cast<std::size_t>(count));
}

// The first `count` <= 16 bytes.
[[maybe_unused]] void store_bytes(std::uint8_t* to, __m128i bytes, int count) {
  if (count >= 16) return _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
  if (count & 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), bytes);
    bytes = _mm_unpackhi_epi64(bytes, bytes), to += 8;
  }
  for (int left = count & 7; left > 0; --left, ++to) {
    *to = static_cast<std::uint8_t>(_mm_cvtsi128_si32(bytes));
    bytes = _mm_srli_si128(bytes, 1);
  }
}

}  // namespace
}  // namespace zeropoint::kernels
