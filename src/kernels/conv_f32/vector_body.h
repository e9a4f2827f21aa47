// Our own fp32 convolution in vectors of any width: the body of each ISA file. See vector.h and blocked.h.
#pragma once

#include "kernels/conv_f32/blocked.h"
#include "kernels/vector.h"

namespace zeropoint::kernels {
namespace {

#if defined(__AVX512F__) || !defined(__x86_64__)
constexpr int kBlockVectors = 4;  // 32 registers: 6x4, 8x3, 12x2, 12x1 sums
#else
constexpr int kBlockVectors = 2;  // 16 registers: 6x2, 10x1 sums
#endif

// Pixels a tile for V vectors of output channels: as many sums as the registers hold, at least eight to hide the latency of
// fma.
template <int V>
constexpr int kTilePixels = kBlockVectors == 4 ? (V == 4   ? 6
                                                  : V == 3 ? 8
                                                           : 12)
                                               : (V == 2 ? 6 : 10);

struct Finish {
  Finish(const BlockedConvF32& conv, const float* given_residual, float* output)
      : low(broadcast(conv.epilogue.low)),
        high(broadcast(conv.epilogue.high)),
        has_residual(conv.epilogue.residual),
        residual(conv.epilogue.in_place ? output : given_residual),
        residual_stride(conv.epilogue.in_place ? conv.shape.dst_pixel_stride : conv.shape.residual_pixel_stride),
        dst(output),
        dst_stride(conv.shape.dst_pixel_stride) {}

  template <class Extent>
  void operator()(int64_t pixel, int64_t channel, F32 v, Extent part) const {
    if (has_residual) v = add(v, load(residual + pixel * residual_stride + channel, part));
    store(dst + pixel * dst_stride + channel, min(high, max(low, v)), part);
  }

  F32 low, high;
  bool has_residual;
  const float* residual;
  int64_t residual_stride;
  float* dst;
  int64_t dst_stride;
};

struct Range {
  int64_t begin, end;
};
inline Range share(int64_t count, int worker, int workers) {
  return {count * worker / workers, count * (worker + 1) / workers};
}

// M output pixels (flat, from `first`; those from `count` on repeat the last) by V vectors of output channels.
template <int M, int V>
inline void dense_tile(const BlockedConvF32& conv, const float* src, int64_t first, int64_t count, const float* weights,
                       const float* bias, int64_t group, int64_t channel, int64_t channels, const Finish& finish) {
  const ConvF32Shape& s = conv.shape;
  const int64_t inputs = s.ic / s.groups;
  const float* corner[M];  // where the window starts, outside of the input perhaps
  int64_t top[M], left[M];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    const int64_t pixel = first + (m < count ? m : count - 1), y = pixel / s.ow % s.oh, x = pixel % s.ow;
    top[m] = y * s.stride_h - s.pad_top;
    left[m] = x * s.stride_w - s.pad_left;
    corner[m] = src + ((pixel / (s.ow * s.oh) * s.h + top[m]) * s.w + left[m]) * s.src_pixel_stride + group * inputs;
  }

  F32 sum[M][V];
#pragma GCC unroll 16
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[m][v] = broadcast(0.0F);

  for (int64_t ky = 0; ky < s.kernel_h; ++ky)
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      const int64_t down = ky * s.dilation_h, right = kx * s.dilation_w, offset = (down * s.w + right) * s.src_pixel_stride;
      const float* in[M];
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) {
        const bool inside = static_cast<uint64_t>(top[m] + down) < static_cast<uint64_t>(s.h) &&
                            static_cast<uint64_t>(left[m] + right) < static_cast<uint64_t>(s.w);
        in[m] = inside ? corner[m] + offset : conv.zeros;
      }
      for (int64_t i = 0; i < inputs; ++i) {
        F32 w[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) w[v] = load(weights + v * kLanes, Whole{});
#pragma GCC unroll 16
        for (int m = 0; m < M; ++m) {
          const F32 x = broadcast(in[m][i]);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[m][v] = fma(x, w[v], sum[m][v]);
        }
        weights += V * kLanes;
      }
    }

#pragma GCC unroll 16
  for (int m = 0; m < M; ++m) {
    if (m >= count) break;
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      const int64_t left_over = channels - v * kLanes;
      const F32 value = add(sum[m][v], load(bias + v * kLanes, Whole{}));
      if (left_over >= kLanes)
        finish(first + m, channel + v * kLanes, value, Whole{});
      else
        finish(first + m, channel + v * kLanes, value, Part{static_cast<int>(left_over)});
    }
  }
}

template <int V>
inline void dense_block(const BlockedConvF32& conv, const float* src, Range pixels, const float* weights, const float* bias,
                        int64_t group, int64_t channel, int64_t channels, const Finish& finish) {
  constexpr int M = kTilePixels<V>;
  for (int64_t first = pixels.begin; first < pixels.end; first += M) {
    const int64_t count = pixels.end - first < M ? pixels.end - first : M;
    if (count == 1)
      dense_tile<1, V>(conv, src, first, 1, weights, bias, group, channel, channels, finish);
    else
      dense_tile<M, V>(conv, src, first, count, weights, bias, group, channel, channels, finish);
  }
}

// Blocks of output channels outside, so that a block's weights stay in L2 while the pixels pass. Workers share the pixels or,
// where those are few, the blocks.
void dense(const BlockedConvF32& conv, const float* src, const float* residual, float* dst, int worker, int workers) noexcept {
  constexpr int kBlock = kBlockVectors * kLanes;
  const ConvF32Shape& s = conv.shape;
  const int64_t outputs = s.oc / s.groups, padded = (outputs + kLanes - 1) / kLanes * kLanes;
  const int64_t depth = s.kernel_h * s.kernel_w * (s.ic / s.groups), blocks = (outputs + kBlock - 1) / kBlock;
  const int64_t all_pixels = s.n * s.oh * s.ow;
  const bool by_pixels = all_pixels >= 8 * workers || blocks * s.groups < workers;
  const Range pixels = by_pixels ? share(all_pixels, worker, workers) : Range{0, all_pixels};
  const Range units = by_pixels ? Range{0, blocks * s.groups} : share(blocks * s.groups, worker, workers);
  const Finish finish(conv, residual, dst);
  for (int64_t unit = units.begin; unit < units.end; ++unit) {
    const int64_t group = unit / blocks, start = unit % blocks * kBlock, channels = outputs - start;
    const float* weights = conv.weights + (group * padded + start) * depth;
    const float* bias = conv.bias + group * padded + start;
    const int64_t channel = group * outputs + start;
    if (channels > 3 * kLanes && kBlockVectors > 3)
      dense_block<kBlockVectors>(conv, src, pixels, weights, bias, group, channel, channels, finish);
    else if (channels > 2 * kLanes && kBlockVectors > 2)
      dense_block<kBlockVectors == 4 ? 3 : 2>(conv, src, pixels, weights, bias, group, channel, channels, finish);
    else if (channels > kLanes)
      dense_block<2>(conv, src, pixels, weights, bias, group, channel, channels, finish);
    else
      dense_block<1>(conv, src, pixels, weights, bias, group, channel, channels, finish);
  }
}

// One vector of channels of X output pixels in a row. A column of the input is loaded once for all the outputs that it serves.
// columns: where each column of each of the KH input rows starts (zeros outside the input).
template <int KH, int KW, int S, int X, class Extent>
inline void depthwise_tile(const float* const* columns, const float* weights, int64_t padded, F32 bias, int64_t pixel,
                           int64_t channel, const Finish& finish, Extent part) {
  constexpr int kColumns = (X - 1) * S + KW;
  F32 sum[X];
#pragma GCC unroll 16
  for (int x = 0; x < X; ++x) sum[x] = broadcast(0.0F);
#pragma GCC unroll 5
  for (int ky = 0; ky < KH; ++ky) {
    F32 w[KW];
#pragma GCC unroll 5
    for (int kx = 0; kx < KW; ++kx) w[kx] = load(weights + (ky * KW + kx) * padded + channel, Whole{});
#pragma GCC unroll 32
    for (int j = 0; j < kColumns; ++j) {
      const F32 value = load(columns[ky * kColumns + j] + channel, part);
#pragma GCC unroll 16
      for (int x = 0; x < X; ++x)
        if (j >= x * S && j < x * S + KW) sum[x] = fma(value, w[j - x * S], sum[x]);
    }
  }
#pragma GCC unroll 16
  for (int x = 0; x < X; ++x) finish(pixel + x, channel, add(sum[x], bias), part);
}

// Any kernel, one output pixel: the end of a row and rare shapes.
template <class Extent>
inline void depthwise_pixel(const BlockedConvF32& conv, const float* image, int64_t y, int64_t x, int64_t padded, int64_t pixel,
                            int64_t channel, const Finish& finish, Extent part) {
  const ConvF32Shape& s = conv.shape;
  F32 sum = broadcast(0.0F);
  for (int64_t ky = 0; ky < s.kernel_h; ++ky)
    for (int64_t kx = 0; kx < s.kernel_w; ++kx) {
      const int64_t at_y = y * s.stride_h - s.pad_top + ky * s.dilation_h,
                    at_x = x * s.stride_w - s.pad_left + kx * s.dilation_w;
      const bool inside = at_y >= 0 && at_y < s.h && at_x >= 0 && at_x < s.w;
      const F32 value = inside ? load(image + (at_y * s.w + at_x) * s.src_pixel_stride + channel, part) : broadcast(0.0F);
      sum = fma(value, load(conv.weights + (ky * s.kernel_w + kx) * padded + channel, Whole{}), sum);
    }
  finish(pixel, channel, add(sum, load(conv.bias + channel, Whole{})), part);
}

// X output pixels from x on, all channels.
template <int KH, int KW, int S, int X>
inline void depthwise_tile_at(const BlockedConvF32& conv, const float* image, int64_t y, int64_t x, int64_t first_pixel,
                              int64_t padded, const Finish& finish) {
  constexpr int kColumns = (X - 1) * S + KW;
  const ConvF32Shape& s = conv.shape;
  const float* columns[KH * kColumns];
  for (int ky = 0; ky < KH; ++ky)
    for (int j = 0; j < kColumns; ++j) {
      const int64_t at_y = y * S - s.pad_top + ky, at_x = x * S - s.pad_left + j;
      const bool inside = at_y >= 0 && at_y < s.h && at_x >= 0 && at_x < s.w;
      columns[ky * kColumns + j] = inside ? image + (at_y * s.w + at_x) * s.src_pixel_stride : conv.zeros;
    }
  for_each_vector(0, s.oc, [&](int64_t c, auto part) {
    depthwise_tile<KH, KW, S, X>(columns, conv.weights, padded, load(conv.bias + c, Whole{}), first_pixel + x, c, finish, part);
  });
}

template <int KH, int KW, int S>
inline void depthwise_row(const BlockedConvF32& conv, const float* image, int64_t y, int64_t first_pixel, int64_t padded,
                          const Finish& finish) {
  const int64_t width = conv.shape.ow;
  int64_t x = 0;
  if constexpr (KW != 0) {
    if constexpr (S == 1)
      for (; x + 8 <= width; x += 8) depthwise_tile_at<KH, KW, S, 8>(conv, image, y, x, first_pixel, padded, finish);
    for (; x + 4 <= width; x += 4) depthwise_tile_at<KH, KW, S, 4>(conv, image, y, x, first_pixel, padded, finish);
    for (; x + 2 <= width; x += 2) depthwise_tile_at<KH, KW, S, 2>(conv, image, y, x, first_pixel, padded, finish);
  }
  for (; x < width; ++x)
    for_each_vector(0, conv.shape.oc, [&](int64_t c, auto part) {
      depthwise_pixel(conv, image, y, x, padded, first_pixel + x, c, finish, part);
    });
}

template <int KH, int KW, int S>
inline void depthwise_rows(const BlockedConvF32& conv, const float* src, const Finish& finish, Range rows) {
  const ConvF32Shape& s = conv.shape;
  const int64_t padded = (s.oc + kLanes - 1) / kLanes * kLanes;
  for (int64_t row = rows.begin; row < rows.end; ++row)
    depthwise_row<KH, KW, S>(conv, src + row / s.oh * s.h * s.w * s.src_pixel_stride, row % s.oh, row * s.ow, padded, finish);
}

void depthwise(const BlockedConvF32& conv, const float* src, const float* residual, float* dst, int worker,
               int workers) noexcept {
  const ConvF32Shape& s = conv.shape;
  const Finish finish(conv, residual, dst);
  const Range rows = share(s.n * s.oh, worker, workers);
  const bool plain = s.dilation_h == 1 && s.dilation_w == 1 && s.kernel_h == s.kernel_w && s.stride_h == s.stride_w;
  if (plain && s.kernel_h == 3 && s.stride_h == 1) return depthwise_rows<3, 3, 1>(conv, src, finish, rows);
  if (plain && s.kernel_h == 3 && s.stride_h == 2) return depthwise_rows<3, 3, 2>(conv, src, finish, rows);
  if (plain && s.kernel_h == 5 && s.stride_h == 1) return depthwise_rows<5, 5, 1>(conv, src, finish, rows);
  if (plain && s.kernel_h == 5 && s.stride_h == 2) return depthwise_rows<5, 5, 2>(conv, src, finish, rows);
  depthwise_rows<0, 0, 0>(conv, src, finish, rows);
}

}  // namespace
}  // namespace zeropoint::kernels
