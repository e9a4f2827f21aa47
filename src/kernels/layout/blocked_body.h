// Transposes in square tiles and strided copies in runs: the body of each ISA file, which brings transpose_tile for 1- and
// 4-byte elements. Internal linkage: for ISA files only.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "kernels/layout/layout_functions.h"

namespace zeropoint::kernels {
namespace {

// Full tiles, rows x columns = kTile x kTile elements: dst[c * dst_stride + r] = src[r * src_stride + c].
template <class T>
struct Tile {
  static constexpr int64_t kTile = 8;
  static void transpose(const T* src, int64_t src_stride, T* dst, int64_t dst_stride) {
    for (int64_t c = 0; c < kTile; ++c)
      for (int64_t r = 0; r < kTile; ++r) dst[c * dst_stride + r] = src[r * src_stride + c];
  }
};

#if defined(__x86_64__)

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

#elif defined(__aarch64__)

template <>
struct Tile<uint32_t> {
  static constexpr int64_t kTile = 4;
  static void transpose(const uint32_t* src, int64_t src_stride, uint32_t* dst, int64_t dst_stride) {
    const uint32x4x4_t rows = {
        {vld1q_u32(src), vld1q_u32(src + src_stride), vld1q_u32(src + 2 * src_stride), vld1q_u32(src + 3 * src_stride)}};
    const uint32x4_t a0 = vzip1q_u32(rows.val[0], rows.val[2]), a1 = vzip2q_u32(rows.val[0], rows.val[2]);
    const uint32x4_t b0 = vzip1q_u32(rows.val[1], rows.val[3]), b1 = vzip2q_u32(rows.val[1], rows.val[3]);
    vst1q_u32(dst, vzip1q_u32(a0, b0));
    vst1q_u32(dst + dst_stride, vzip2q_u32(a0, b0));
    vst1q_u32(dst + 2 * dst_stride, vzip1q_u32(a1, b1));
    vst1q_u32(dst + 3 * dst_stride, vzip2q_u32(a1, b1));
  }
};

template <>
struct Tile<uint8_t> {
  static constexpr int64_t kTile = 16;
  static void transpose(const uint8_t* src, int64_t src_stride, uint8_t* dst, int64_t dst_stride) {
    uint8x16_t x[16], y[16];
    for (int r = 0; r < 16; ++r) x[r] = vld1q_u8(src + r * src_stride);
    interleave(x, y);
    interleave(y, x);
    interleave(x, y);
    interleave(y, x);
    for (int c = 0; c < 16; ++c) vst1q_u8(dst + c * dst_stride, x[c]);
  }
  static void interleave(const uint8x16_t* from, uint8x16_t* to) {
    for (int r = 0; r < 8; ++r) {
      to[2 * r] = vzip1q_u8(from[r], from[r + 8]);
      to[2 * r + 1] = vzip2q_u8(from[r], from[r + 8]);
    }
  }
};

#endif

// What an ISA does for a narrow shape as a whole, such as three planes; false: not this one.
template <class T>
inline bool transpose_narrow(const T*, const TransposeShape&, int64_t, int64_t, T*) {
  return false;
}

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

template <class T>
inline void transpose_columns(const TransposeShape& s, const T* src, T* dst, int64_t column_begin, int64_t column_end) {
  constexpr int64_t kTile = Tile<T>::kTile;
  if (transpose_narrow(src, s, column_begin, column_end, dst)) return;
  for (int64_t c = column_begin; c < column_end; c += kTile) {
    const int64_t width = column_end - c < kTile ? column_end - c : kTile;
    int64_t r = 0;
    if (width == kTile)
      for (; r + kTile <= s.rows; r += kTile)
        Tile<T>::transpose(src + r * s.src_row_stride + c, s.src_row_stride, dst + c * s.dst_row_stride + r, s.dst_row_stride);
    for (int64_t i = 0; i < width; ++i)
      for (int64_t row = r; row < s.rows; ++row) dst[(c + i) * s.dst_row_stride + row] = src[row * s.src_row_stride + c + i];
  }
}

// Shares are blocks of columns over all batches.
template <class T>
inline void transpose_all(const TransposeShape& s, const void* src, void* dst, int worker, int workers) {
  constexpr int64_t kBlock = 64;
  const int64_t blocks = (s.columns + kBlock - 1) / kBlock, units = s.batch * blocks;
  for (int64_t unit = units * worker / workers, end = units * (worker + 1) / workers; unit < end;) {
    const int64_t b = unit / blocks, first = unit % blocks;
    const int64_t last = end - unit < blocks - first ? first + (end - unit) : blocks;
    const int64_t column_end = last * kBlock < s.columns ? last * kBlock : s.columns;
    transpose_columns(s, static_cast<const T*>(src) + b * s.src_batch_stride, static_cast<T*>(dst) + b * s.dst_batch_stride,
                      first * kBlock, column_end);
    unit += last - first;
  }
}

inline void transpose(const TransposeShape& s, const void* src, void* dst, int worker, int workers) noexcept {
  switch (s.element_bytes) {
    case 1:
      return transpose_all<uint8_t>(s, src, dst, worker, workers);
    case 2:
      return transpose_all<uint16_t>(s, src, dst, worker, workers);
    case 4:
      return transpose_all<uint32_t>(s, src, dst, worker, workers);
    default:
      return transpose_all<uint64_t>(s, src, dst, worker, workers);
  }
}

template <class T>
inline void copy_line(const T* src, int64_t src_stride, T* dst, int64_t dst_stride, int64_t count) {
  if (src_stride == 1 && dst_stride == 1) {
    memcpy(dst, src, static_cast<size_t>(count) * sizeof(T));
    return;
  }
  for (int64_t i = 0; i < count; ++i) dst[i * dst_stride] = src[i * src_stride];
}

template <class T>
inline void copy_all(const StridedCopy& copy, const T* src, T* dst, int worker, int workers) {
  const int inner = copy.rank - 1;
  if (inner < 0) {
    if (worker == 0) *dst = *src;
    return;
  }
  // The axis that is contiguous in src, if the innermost is not but is contiguous in dst: those two are a transpose.
  int across = -1;
  if (copy.src_strides[inner] != 1 && copy.dst_strides[inner] == 1 && copy.dims[inner] > 1)
    for (int axis = 0; axis < inner; ++axis)
      if (copy.src_strides[axis] == 1 && copy.dims[axis] > 1) across = axis;

  int64_t outer = 1;  // positions of the other axes
  for (int axis = 0; axis < inner; ++axis)
    if (axis != across) outer *= copy.dims[axis];
  const bool split_inside = across >= 0 && outer < workers;  // few transposes: each is shared by all workers
  const int64_t begin = split_inside ? 0 : outer * worker / workers,
                end = split_inside ? outer : outer * (worker + 1) / workers;
  for (int64_t flat = begin; flat < end; ++flat) {
    int64_t rest = flat, from = 0, to = 0;
    for (int axis = inner - 1; axis >= 0; --axis) {
      if (axis == across) continue;
      const int64_t i = rest % copy.dims[axis];
      rest /= copy.dims[axis];
      from += i * copy.src_strides[axis];
      to += i * copy.dst_strides[axis];
    }
    if (across < 0) {
      copy_line(src + from, copy.src_strides[inner], dst + to, copy.dst_strides[inner], copy.dims[inner]);
      continue;
    }
    TransposeShape shape;
    shape.rows = copy.dims[inner];
    shape.columns = copy.dims[across];
    shape.src_row_stride = copy.src_strides[inner];
    shape.dst_row_stride = copy.dst_strides[across];
    shape.element_bytes = copy.element_bytes;
    transpose_all<T>(shape, src + from, dst + to, split_inside ? worker : 0, split_inside ? workers : 1);
  }
}

inline void strided_copy(const StridedCopy& copy, const void* src, void* dst, int worker, int workers) noexcept {
  switch (copy.element_bytes) {
    case 1:
      return copy_all(copy, static_cast<const uint8_t*>(src), static_cast<uint8_t*>(dst), worker, workers);
    case 2:
      return copy_all(copy, static_cast<const uint16_t*>(src), static_cast<uint16_t*>(dst), worker, workers);
    case 4:
      return copy_all(copy, static_cast<const uint32_t*>(src), static_cast<uint32_t*>(dst), worker, workers);
    default:
      return copy_all(copy, static_cast<const uint64_t*>(src), static_cast<uint64_t*>(dst), worker, workers);
  }
}

}  // namespace
}  // namespace zeropoint::kernels
