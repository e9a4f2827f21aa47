// Pooling of u8 tensors in vectors over channels: the body of each ISA file. See vector.h.
#pragma once

#include "kernels/pool_q8/pool_q8_functions.h"
#include "kernels/pool_window.h"
#include "kernels/vector.h"

namespace zeropoint::kernels {
namespace {

// body(first pixel of the window, step down, step right, height, width, count, flat output pixel, share)
template <class Body>
inline void for_each_window(const PoolShape& s, const uint8_t* src, int64_t block, int worker, int workers, const Body& body) {
  const PoolShare share = pool_share(s, block, worker, workers);
  const int64_t down = s.dilation_h * s.w * s.src_pixel_stride, right = s.dilation_w * s.src_pixel_stride;
  for (int64_t row = share.row_end; row-- > share.row_begin;) {  // what was written last is still near
    const uint8_t* image = src + row / s.oh * s.h * s.w * s.src_pixel_stride;
    const PoolSpan rows = pool_rows(s, row % s.oh);
    for (int64_t x = 0; x < s.ow; ++x) {
      const PoolSpan columns = pool_columns(s, x);
      body(image + (rows.first * s.w + columns.first) * s.src_pixel_stride, down, right, rows.end - rows.begin,
           columns.end - columns.begin, pool_count(s, rows, columns), row * s.ow + x, share);
    }
  }
}

void max_u8(const PoolShape& s, const uint8_t* src, uint8_t* dst, int worker, int workers) noexcept {
  for_each_window(s, src, kByteLanes, worker, workers,
                  [&](const uint8_t* corner, int64_t down, int64_t right, int64_t height, int64_t width, int64_t, int64_t pixel,
                      const PoolShare& share) {
                    for_each_vector<kByteLanes>(share.channel_begin, share.channel_end, [&](int64_t c, auto part) {
                      U8 m = zero_u8();
                      const uint8_t* line = corner + c;
                      for (int64_t i = 0; i < height; ++i, line += down) {
                        const uint8_t* at = line;
                        if (width == 3) {  // most of all windows: no inner loop
                          m = max_u8(max_u8(m, load_u8(at, part)),
                                     max_u8(load_u8(at + right, part), load_u8(at + 2 * right, part)));
                          continue;
                        }
                        for (int64_t j = 0; j < width; ++j, at += right) m = max_u8(m, load_u8(at, part));
                      }
                      store_u8(dst + pixel * s.dst_pixel_stride + c, m, part);
                    });
                  });
}

template <class Store>
inline void average(const PoolShape& s, const DequantizeParams& x, const uint8_t* src, int worker, int workers,
                    const Store& put) {
  const F32 scale = broadcast(x.scale);
  for_each_window(s, src, kLanes, worker, workers,
                  [&](const uint8_t* corner, int64_t down, int64_t right, int64_t height, int64_t width, int64_t count,
                      int64_t pixel, const PoolShare& share) {
                    const S32 zero = broadcast_s32(-static_cast<int32_t>(height * width) * x.zero_point);
                    const F32 divisor = broadcast(count == 0 ? 1.0F : static_cast<float>(count));
                    for_each_vector(share.channel_begin, share.channel_end, [&](int64_t c, auto part) {
                      S32 sum = zero;
                      for (int64_t i = 0; i < height; ++i)
                        for (int64_t j = 0; j < width; ++j) sum = add(sum, widen(corner + i * down + j * right + c, part));
                      put(pixel * s.dst_pixel_stride + c, div(mul(to_float(sum), scale), divisor), part);
                    });
                  });
}

void average_f32(const PoolShape& s, const DequantizeParams& x, const uint8_t* src, float* dst, int worker,
                 int workers) noexcept {
  average(s, x, src, worker, workers, [&](int64_t i, F32 v, auto part) { store(dst + i, v, part); });
}

void average_u8(const PoolShape& s, const DequantizeParams& x, const QuantizeParams& y, const uint8_t* src, uint8_t* dst,
                int worker, int workers) noexcept {
  const F32 y_scale = broadcast(y.scale), most = broadcast(static_cast<float>(y.high - y.zero_point));
  const S32 low = broadcast_s32(y.low - y.zero_point), zero_point = broadcast_s32(y.zero_point);
  average(s, x, src, worker, workers, [&](int64_t i, F32 v, auto part) {
    const S32 q = to_nearest(min(most, div(v, y_scale)));
    narrow(dst + i, add(max(q, low), zero_point), part);
  });
}

}  // namespace
}  // namespace zeropoint::kernels
