// The u8 epilogue in AVX-512 registers, for the kernel files of that family. Internal linkage throughout: see packed.h.
#pragma once

#include <immintrin.h>

#include "kernels/conv_q8/packed.h"

namespace zeropoint::kernels {
namespace {

[[maybe_unused]] __mmask64 first(std::int64_t count) { return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1; }

// 64 values v = float(acc + comp) * scale -> u8. The limits are whole numbers, so clamping after rounding is the same as
// before; values below s32 convert to its least value, which is clamped too; values above it must be limited before the
// conversion.
//
// One operation less when zero point and lower limit are 0 and |acc + comp| < 2^23: the integer acc + comp + 0x4B000000, read
// as a float, is 2^23 + (acc + comp) where that is not negative, and 2^23 * scale is exact, so fma(it, scale, -2^23 * scale)
// rounds once, to the same v. Where acc + comp is negative, so is the result, and both are clamped to 0.
struct Requantize {
  static constexpr int kBias = 0x4B000000;
  static constexpr float kShift = -8388608.0F;

  __m512 high;
  __m512i zero_point, lowest, highest;
  bool narrow;   // the limits leave less than all of u8
  bool bounded;  // |v| < 2^31 for certain, as all scales are below 1
  bool biased;   // the form with one operation less is exact

  Requantize(const ConvArgs& a, const PackedHeader& header, std::int64_t outputs)
      : high(_mm512_set1_ps(a.high)),
        zero_point(_mm512_set1_epi16(static_cast<short>(a.dst_zero_point))),
        lowest(_mm512_set1_epi8(quantized(a, a.low))),
        highest(_mm512_set1_epi8(quantized(a, a.high))),
        narrow(quantized(a, a.low) != 0 || quantized(a, a.high) != static_cast<char>(255)),
        bounded(false),
        biased(false) {
    if (a.output != ConvOutput::u8) return;
    __m512 largest_scale = _mm512_setzero_ps(), least_scale = _mm512_setzero_ps();
    __m512i largest_comp = _mm512_setzero_si512();
    for (std::int64_t i = 0; i < outputs; i += 16) {
      const auto mask = static_cast<__mmask16>(first(outputs - i));
      const __m512 scale = _mm512_maskz_loadu_ps(mask, a.scale + i);
      largest_scale = _mm512_max_ps(largest_scale, scale);
      least_scale = _mm512_min_ps(least_scale, scale);
      largest_comp = _mm512_max_epu32(largest_comp, _mm512_abs_epi32(_mm512_maskz_loadu_epi32(mask, a.comp + i)));
    }
    const float least = _mm512_reduce_min_ps(least_scale);
    bounded = _mm512_reduce_max_ps(largest_scale) < 1.0F && least > -1.0F;
    const std::uint64_t largest = _mm512_reduce_max_epu32(largest_comp) + static_cast<std::uint64_t>(header.largest_sum);
    biased = bounded && least >= 0 && a.dst_zero_point == 0 && !header.has_weight_zero_points && largest < (1U << 23);
  }

  static char quantized(const ConvArgs& a, float limit) {  // other outputs may have infinite limits
    return a.output == ConvOutput::u8 ? static_cast<char>(static_cast<std::int32_t>(limit) + a.dst_zero_point) : char{0};
  }

  // acc + comp (+ kBias) -> v; shift = kShift * scale.
  template <bool kBiased>
  static __attribute__((always_inline)) __m512 value(__m512i sum, __m512 scale, __m512 shift) {
    return kBiased ? _mm512_fmadd_ps(_mm512_castsi512_ps(sum), scale, shift) : _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
  }

  // Packs work within 128-bit lanes: lane i of the words holds 4 values each of v0 and v1, from their lanes i; of the bytes, 8
  // each of a and b.
  template <bool kBiased = false>
  __attribute__((always_inline)) __m512i words(__m512 v0, __m512 v1) const {
    if (kBiased) return _mm512_packs_epi32(_mm512_cvtps_epi32(v0), _mm512_cvtps_epi32(v1));
    if (!bounded) v0 = _mm512_min_ps(v0, high), v1 = _mm512_min_ps(v1, high);
    return _mm512_adds_epi16(_mm512_packs_epi32(_mm512_cvtps_epi32(v0), _mm512_cvtps_epi32(v1)), zero_point);
  }
  __attribute__((always_inline)) __m512i bytes(__m512i a, __m512i b) const {
    const __m512i q = _mm512_packus_epi16(a, b);  // clamps to 0 ... 255
    return narrow ? _mm512_min_epu8(_mm512_max_epu8(q, lowest), highest) : q;
  }

  // The 16 values of v0, then those of v1, v2, v3.
  template <bool kBiased = false>
  __attribute__((always_inline)) __m512i in_order(__m512 v0, __m512 v1, __m512 v2, __m512 v3) const {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, bytes(words<kBiased>(v0, v1), words<kBiased>(v2, v3)));
  }
};

}  // namespace
}  // namespace zeropoint::kernels
