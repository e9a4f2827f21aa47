// The u8 epilogue in AVX-512 registers, for the kernel files of that family. Internal linkage throughout: see packed.h.
#pragma once

#include <immintrin.h>

#include "kernels/conv_q8/conv_args.h"

namespace zeropoint::kernels {
namespace {

[[maybe_unused]] __mmask64 first(std::int64_t count) { return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1; }

// 64 values v = float(acc + comp) * scale -> u8. The limits are whole numbers, so clamping after rounding is the same as
// before; values below s32 convert to its least value, which is clamped too; values above it must be limited before the
// conversion.
struct Requantize {
  __m512 high;
  __m512i zero_point, lowest, highest;
  bool bounded = false;  // |v| <= 2^31 - 128 for certain, as all scales are below 1

  explicit Requantize(const ConvArgs& a)
      : high(_mm512_set1_ps(a.high)),
        zero_point(_mm512_set1_epi16(static_cast<short>(a.dst_zero_point))),
        lowest(_mm512_set1_epi8(quantized(a, a.low))),
        highest(_mm512_set1_epi8(quantized(a, a.high))) {}

  static char quantized(const ConvArgs& a, float limit) {  // other outputs may have infinite limits
    return a.output == ConvOutput::u8 ? static_cast<char>(static_cast<std::int32_t>(limit) + a.dst_zero_point) : char{0};
  }

  // Packs work within 128-bit lanes: lane i of the words holds 4 values each of v0 and v1, from their lanes i; of the bytes, 8
  // each of a and b.
  __attribute__((always_inline)) __m512i words(__m512 v0, __m512 v1) const {
    if (!bounded) v0 = _mm512_min_ps(v0, high), v1 = _mm512_min_ps(v1, high);
    return _mm512_adds_epi16(_mm512_packs_epi32(_mm512_cvtps_epi32(v0), _mm512_cvtps_epi32(v1)), zero_point);
  }
  __attribute__((always_inline)) __m512i bytes(__m512i a, __m512i b) const {
    return _mm512_min_epu8(_mm512_max_epu8(_mm512_packus_epi16(a, b), lowest), highest);
  }

  // The 16 values of v0, then those of v1, v2, v3.
  __attribute__((always_inline)) __m512i in_order(__m512 v0, __m512 v1, __m512 v2, __m512 v3) const {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, bytes(words(v0, v1), words(v2, v3)));
  }
};

}  // namespace
}  // namespace zeropoint::kernels
