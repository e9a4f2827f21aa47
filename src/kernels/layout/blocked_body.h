// Transposes in square tiles and strided copies in runs: the body of each ISA file, which brings transpose_tile for 1- and
// 4-byte elements. Internal linkage: for ISA files only.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include "kernels/layout/x86_tiles.h"
#elif defined(__aarch64__)
#include "kernels/layout/arm_tiles.h"
#endif

#include "kernels/layout/layout_functions.h"

namespace zeropoint::kernels {
namespace {

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
