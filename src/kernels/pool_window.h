// The part of a pooling window that lies inside the input. Safe to include in files of any ISA (internal linkage).
#pragma once

#include <cstdint>

#include "kernels/pool_shape.h"

namespace zeropoint::kernels {
namespace {

// Kernel positions begin..end-1 along one axis lie inside the input; the first of them reads input coordinate `first`.
struct PoolSpan {
  std::int64_t begin, end, first, padded_count;  // padded_count: positions inside the padded input
};

// Positions k >= 0 with k * dilation < distance.
inline std::int64_t pool_steps(std::int64_t distance, std::int64_t dilation) {
  if (distance <= 0) return 0;
  return dilation == 1 ? distance : (distance + dilation - 1) / dilation;
}

inline PoolSpan pool_span(std::int64_t out, std::int64_t kernel, std::int64_t stride, std::int64_t dilation,
                          std::int64_t pad_before, std::int64_t size, std::int64_t pad_after) {
  const std::int64_t start = out * stride - pad_before;
  const std::int64_t begin = pool_steps(-start, dilation), end = pool_steps(size - start, dilation);
  const std::int64_t padded = pool_steps(size + pad_after - start, dilation);
  PoolSpan span{begin, end < kernel ? end : kernel, 0, padded < kernel ? padded : kernel};
  if (span.begin > span.end) span.begin = span.end;  // nothing inside
  span.first = start + span.begin * dilation;
  return span;
}

inline PoolSpan pool_rows(const PoolShape& s, std::int64_t y) {
  return pool_span(y, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top, s.h, s.pad_bottom);
}
inline PoolSpan pool_columns(const PoolShape& s, std::int64_t x) {
  return pool_span(x, s.kernel_w, s.stride_w, s.dilation_w, s.pad_left, s.w, s.pad_right);
}

inline std::int64_t pool_count(const PoolShape& s, const PoolSpan& rows, const PoolSpan& columns) {
  return s.count_include_pad ? rows.padded_count * columns.padded_count
                             : (rows.end - rows.begin) * (columns.end - columns.begin);
}

// A worker's share: output rows of all images, or, where there are fewer rows than workers, channels in blocks.
struct PoolShare {
  std::int64_t row_begin, row_end, channel_begin, channel_end;
};

inline PoolShare pool_share(const PoolShape& s, std::int64_t block, int worker, int workers) {
  const std::int64_t rows = s.n * s.oh;
  if (rows >= workers) return {rows * worker / workers, rows * (worker + 1) / workers, 0, s.c};
  const std::int64_t blocks = (s.c + block - 1) / block;
  const std::int64_t end = blocks * (worker + 1) / workers * block;
  return {0, rows, blocks * worker / workers * block, end < s.c ? end : s.c};
}

}  // namespace
}  // namespace zeropoint::kernels
