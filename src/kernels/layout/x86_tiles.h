// Tiles of AVX2; with AVX-512 also three planes at once.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "kernels/layout/tile.h"

namespace zeropoint::kernels {
namespace {

// 8x8 of 4 bytes: interleave rows by 1, by 2, then swap halves.
template <>
struct Tile<uint32_t> {
  static constexpr int64_t kTile = 8;
  static void transpose(const uint32_t* src, int64_t src_stride, uint32_t* dst, int64_t dst_stride) {
    const auto row = [&](int r) { return _mm256_loadu_ps(reinterpret_cast<const float*>(src + r * src_stride)); };
    const __m256 a0 = _mm256_unpacklo_ps(row(0), row(1)), a1 = _mm256_unpackhi_ps(row(0), row(1));
    const __m256 a2 = _mm256_unpacklo_ps(row(2), row(3)), a3 = _mm256_unpackhi_ps(row(2), row(3));
    const __m256 a4 = _mm256_unpacklo_ps(row(4), row(5)), a5 = _mm256_unpackhi_ps(row(4), row(5));
    const __m256 a6 = _mm256_unpacklo_ps(row(6), row(7)), a7 = _mm256_unpackhi_ps(row(6), row(7));
    const __m256 b0 = _mm256_shuffle_ps(a0, a2, 0x44), b1 = _mm256_shuffle_ps(a0, a2, 0xEE);
    const __m256 b2 = _mm256_shuffle_ps(a1, a3, 0x44), b3 = _mm256_shuffle_ps(a1, a3, 0xEE);
    const __m256 b4 = _mm256_shuffle_ps(a4, a6, 0x44), b5 = _mm256_shuffle_ps(a4, a6, 0xEE);
    const __m256 b6 = _mm256_shuffle_ps(a5, a7, 0x44), b7 = _mm256_shuffle_ps(a5, a7, 0xEE);
    const auto put = [&](int c, __m256 v) { _mm256_storeu_ps(reinterpret_cast<float*>(dst + c * dst_stride), v); };
    put(0, _mm256_permute2f128_ps(b0, b4, 0x20));
    put(1, _mm256_permute2f128_ps(b1, b5, 0x20));
    put(2, _mm256_permute2f128_ps(b2, b6, 0x20));
    put(3, _mm256_permute2f128_ps(b3, b7, 0x20));
    put(4, _mm256_permute2f128_ps(b0, b4, 0x31));
    put(5, _mm256_permute2f128_ps(b1, b5, 0x31));
    put(6, _mm256_permute2f128_ps(b2, b6, 0x31));
    put(7, _mm256_permute2f128_ps(b3, b7, 0x31));
  }
};

// 16x16 bytes: four rounds, each interleaving row i with row i + 8; after them the rows are the columns.
template <>
struct Tile<uint8_t> {
  static constexpr int64_t kTile = 16;
  static void transpose(const uint8_t* src, int64_t src_stride, uint8_t* dst, int64_t dst_stride) {
    __m128i x[16], y[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) x[r] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(src + r * src_stride));
    interleave(x, y);
    interleave(y, x);
    interleave(x, y);
    interleave(y, x);
#pragma GCC unroll 16
    for (int c = 0; c < 16; ++c) _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + c * dst_stride), x[c]);
  }
  static void interleave(const __m128i* from, __m128i* to) {
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      to[2 * r] = _mm_unpacklo_epi8(from[r], from[r + 8]);
      to[2 * r + 1] = _mm_unpackhi_epi8(from[r], from[r + 8]);
    }
  }
};

#if defined(__AVX512F__)
// Three planes of floats to pixels: 16 pixels are three vectors, each picked from the three planes by two permutations.
template <>
inline bool transpose_narrow(const uint32_t* src, const TransposeShape& s, int64_t begin, int64_t end, uint32_t* dst) {
  if (s.rows != 3 || s.dst_row_stride != 3) return false;
  // Lane j of vector k is element 16k + j of the pixels: plane (16k + j) % 3, pixel (16k + j) / 3; bit 4 chooses the second
  // source.
  uint32_t first[3][16], second[3][16];
  for (uint32_t k = 0; k < 3; ++k)
    for (uint32_t j = 0; j < 16; ++j) {
      const uint32_t plane = (16 * k + j) % 3, pixel = (16 * k + j) / 3;
      first[k][j] = plane == 0 ? pixel : 16 + pixel;  // of planes 0 and 1; lanes of plane 2 hold anything
      second[k][j] = plane == 2 ? 16 + pixel : j;
    }
  const uint32_t *p0 = src, *p1 = src + s.src_row_stride, *p2 = src + 2 * s.src_row_stride;
  int64_t c = begin;
  for (; c + 16 <= end; c += 16) {
    const __m512i a = _mm512_loadu_si512(p0 + c), b = _mm512_loadu_si512(p1 + c), third = _mm512_loadu_si512(p2 + c);
    for (int k = 0; k < 3; ++k) {
      const __m512i two = _mm512_permutex2var_epi32(a, _mm512_loadu_si512(first[k]), b);
      _mm512_storeu_si512(dst + 3 * c + 16 * k, _mm512_permutex2var_epi32(two, _mm512_loadu_si512(second[k]), third));
    }
  }
  for (; c < end; ++c) {
    dst[3 * c] = p0[c];
    dst[3 * c + 1] = p1[c];
    dst[3 * c + 2] = p2[c];
  }
  return true;
}
#endif

}  // namespace
}  // namespace zeropoint::kernels
