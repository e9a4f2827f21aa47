// Changes of layout: what one instruction set offers. Safe to include in files of any ISA.
//
// Elements are opaque: 1, 2, 4 or 8 bytes (`element_bytes`). Pure copies, exact everywhere. All strides and sizes in elements.
// `worker` of `workers` does its share; the shares are disjoint and together complete; workers = 1 does everything.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {

// dst[b][c][r] = src[b][r][c] for b < batch, r < rows, c < columns.
//   NCHW -> NHWC: batch = N, rows = C, columns = H*W.      NHWC -> NCHW: batch = N, rows = H*W, columns = C.
// src element (b, r, c) stands at b*src_batch_stride + r*src_row_stride + c;
// dst element (b, c, r) stands at b*dst_batch_stride + c*dst_row_stride + r. Strides above the dense ones leave gaps untouched.
struct TransposeShape {
  std::int64_t batch = 1, rows = 0, columns = 0;
  std::int64_t src_batch_stride = 0, src_row_stride = 0;
  std::int64_t dst_batch_stride = 0, dst_row_stride = 0;
  int element_bytes = 1;
};

// Any copy between two strided views: dst[sum i_k*dst_strides[k]] = src[sum i_k*src_strides[k]] for all i_k < dims[k].
// Serves Transpose, Slice, Concat, Split, Pad's inside, Expand (src stride 0), channel shuffles. dst strides must not overlap.
inline constexpr int kMaxRank = 8;
struct StridedCopy {
  int rank = 0;
  std::int64_t dims[kMaxRank] = {};
  std::int64_t src_strides[kMaxRank] = {};
  std::int64_t dst_strides[kMaxRank] = {};
  int element_bytes = 1;
};

struct LayoutFunctions {
  void (*transpose)(const TransposeShape& shape, const void* src, void* dst, int worker, int workers) noexcept;
  void (*strided_copy)(const StridedCopy& copy, const void* src, void* dst, int worker, int workers) noexcept;
};

// One a file; table.cpp lists them.
extern const LayoutFunctions layout_reference, layout_avx2, layout_avx512vnni, layout_neon;

}  // namespace zeropoint::kernels
