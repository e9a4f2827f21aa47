// Pooling of f32 tensors in vectors over channels: the body of each ISA file. See vector.h.
#pragma once

#include "kernels/pool_f32/pool_f32_functions.h"
#include "kernels/pool_window.h"
#include "kernels/vector.h"

namespace zeropoint::kernels {
namespace {

template <int kNumber>
struct Vectors {
  static constexpr int kCount = kNumber;
};

// Channels of one output pixel: `start`, then take(value, x) over the window, then finish(value, count). kBlock vectors at a
// time, so that their chains overlap.
template <class Take, class Finish>
inline void pool(const PoolShape& s, const float* src, float* dst, int worker, int workers, float start, const Take& take,
                 const Finish& finish) {
  constexpr int kBlock = 4;
  const PoolShare share = pool_share(s, kLanes, worker, workers);
  for (int64_t row = share.row_begin; row < share.row_end; ++row) {
    const float* image = src + row / s.oh * s.h * s.w * s.src_pixel_stride;
    const PoolSpan rows = pool_rows(s, row % s.oh);
    for (int64_t x = 0; x < s.ow; ++x) {
      const PoolSpan columns = pool_columns(s, x);
      const int64_t height = rows.end - rows.begin, width = columns.end - columns.begin;
      const float* corner = image + (rows.first * s.w + columns.first) * s.src_pixel_stride;
      const int64_t down = s.dilation_h * s.w * s.src_pixel_stride, right = s.dilation_w * s.src_pixel_stride;
      float* out = dst + (row * s.ow + x) * s.dst_pixel_stride;
      const int64_t count = pool_count(s, rows, columns);

      const auto block = [&](int64_t c, auto vectors, auto part) {
        F32 v[decltype(vectors)::kCount];
        for (F32& value : v) value = broadcast(start);
        for (int64_t i = 0; i < height; ++i)
          for (int64_t j = 0; j < width; ++j) {
            const float* pixel = corner + i * down + j * right + c;
            for (int k = 0; k < decltype(vectors)::kCount; ++k) v[k] = take(v[k], load(pixel + k * kLanes, part));
          }
        for (int k = 0; k < decltype(vectors)::kCount; ++k) store(out + c + k * kLanes, finish(v[k], count), part);
      };
      int64_t c = share.channel_begin;
      for (; c + kBlock * kLanes <= share.channel_end; c += kBlock * kLanes) block(c, Vectors<kBlock>{}, Whole{});
      for_each_vector(c, share.channel_end, [&](int64_t at, auto part) { block(at, Vectors<1>{}, part); });
    }
  }
}

void max(const PoolShape& s, const float* src, float* dst, int worker, int workers) noexcept {
  pool(
      s, src, dst, worker, workers, -__builtin_inff(), [](F32 m, F32 x) { return max(x, m); },
      [](F32 m, int64_t) { return m; });
}

void average(const PoolShape& s, const float* src, float* dst, int worker, int workers) noexcept {
  pool(
      s, src, dst, worker, workers, 0.0F, [](F32 sum, F32 x) { return add(sum, x); },
      [](F32 sum, int64_t count) { return count == 0 ? broadcast(0.0F) : div(sum, broadcast(static_cast<float>(count))); });
}

}  // namespace
}  // namespace zeropoint::kernels
