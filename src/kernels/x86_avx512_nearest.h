// Four vectors of floats to the bytes of the integers nearest to x / scale, as vector_symmetric.h has it. Internal linkage: for
// files of AVX-512 with VBMI only.
#pragma once

#include "kernels/vector_symmetric.h"

namespace zeropoint::kernels {
namespace {

// Of bytes from vectors a, b, c, d: one after another, or a dword from the same lane of each: a0 b0 c0 d0 a1 ...
enum class ByteOrder { natural, interleaved };

template <ByteOrder kOrder>
inline __m512i low_bytes(const __m512i (&x)[4]) {
  const __m512i first = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
  constexpr __mmask64 kFirst = 0x1111111111111111;
  __m512i bytes = _mm512_mask_shuffle_epi8(x[0], kFirst << 1, x[1], first);
  bytes = _mm512_mask_shuffle_epi8(bytes, kFirst << 2, x[2], first);
  bytes = _mm512_mask_shuffle_epi8(bytes, kFirst << 3, x[3], first);
  if constexpr (kOrder == ByteOrder::interleaved) return bytes;
  alignas(64) static constexpr uint8_t kNatural[64] = {0, 4, 8,  12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60,
                                                       1, 5, 9,  13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61,
                                                       2, 6, 10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 50, 54, 58, 62,
                                                       3, 7, 11, 15, 19, 23, 27, 31, 35, 39, 43, 47, 51, 55, 59, 63};
  return _mm512_permutexvar_epi8(_mm512_load_si512(kNatural), bytes);
}

// The quotients lie between x * low and x * high; where rounding leaves a doubt, `divided` gives the integers. `shift` is
// kToInteger plus what `divided`, too, adds to them. Of vectors from kVectors on the bytes are zeros.
template <ByteOrder kOrder, int kVectors = 4, class Divided>
inline __m512i nearest_bytes(const __m512 (&x)[4], __m512 low, __m512 high, __m512 shift, const Divided& divided) {
  __m512i bits[4] = {};
  __mmask16 doubtful = 0;
#pragma GCC unroll 4
  for (int i = 0; i < kVectors; ++i) {
    const __m512 a = fma(x[i], low, shift), b = fma(x[i], high, shift);
    doubtful = static_cast<__mmask16>(doubtful | _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ));
    bits[i] = bits_of(a);
  }
  if (__builtin_expect(doubtful != 0, 0))
#pragma GCC unroll 4
    for (int i = 0; i < kVectors; ++i) bits[i] = divided(x[i]);
  return low_bytes<kOrder>(bits);
}

// As numerics::quantize: NaN and what is below the range become -128.
inline __m512i divided_symmetric(__m512 x, __m512 scale) {
  return _mm512_max_epi32(_mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(127), _mm512_div_ps(x, scale))),
                          _mm512_set1_epi32(-128));
}

}  // namespace
}  // namespace zeropoint::kernels
