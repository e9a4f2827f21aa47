// Dense and grouped convolution on ymm registers, for x86_avx2.cpp and x86_avx2vnni.cpp. Internal linkage throughout.
//
// A tile is up to 6 pixels x 16 output channels in 12 registers. Its inputs are first copied into a panel in L1,
// [pixel][tap][channels], in the element type that the instruction wants: this takes care of strides, dilation and padding and
// is small beside the products. `Dot` names the element, how many channels a 4-byte step holds, and the multiply-add.
#pragma once

#include <immintrin.h>

#include "kernels/conv_q8/packed.h"
#include "kernels/conv_q8/x86_avx2_requantize.h"

namespace zeropoint::kernels {
namespace {

constexpr int kBlock = 16, kMostRows = 6;
constexpr std::int64_t kPanelSlack = 32;               // elements that copies may write past a row
constexpr std::int64_t kWeightChunkBytes = 256 << 10;  // weights that all tiles use before the next ones

template <class Dot>
struct Geometry {
  std::int64_t channels, outputs, taps, steps, blocks, block_bytes, panel_pitch;

  explicit Geometry(const ConvShape& s)
      : channels(s.c / s.groups),
        outputs(s.o / s.groups),
        taps(s.kh * s.kw),
        steps((channels + Dot::kChannels - 1) / Dot::kChannels),
        blocks((outputs + kBlock - 1) / kBlock),
        block_bytes(taps * steps * 4 * kBlock),
        panel_pitch(round_up(taps * steps * Dot::kChannels + kPanelSlack, 32)) {}

  std::int64_t panel_bytes() const {
    return kMostRows * panel_pitch * static_cast<std::int64_t>(sizeof(typename Dot::Element));
  }
  std::int64_t worker_bytes() const { return panel_bytes() + round_up(channels + 64, 64); }
};

template <class Dot>
struct Tile {
  const typename Dot::Element* panel;
  std::int64_t panel_pitch, steps;  // steps of all taps
  const std::int8_t* weights;
  const std::int32_t* comp;               // of the block's first channel; so are scale and bias
  const float *scale, *bias, *row_scale;  // row_scale: of the first row; the last two may be null
  const std::int32_t* weight_zero_points;
  const std::int32_t* sums;  // [rows], or null
  void* dst;
  std::int64_t dst_stride;
  int rows, channels;
  const ConvArgs* args;
};

template <class Dot, int kRows>
__attribute__((noinline)) void compute_tile(const Tile<Dot>& t) {
  const __m256i mask0 = first_lanes(t.channels), mask1 = first_lanes(t.channels - 8);
  __m256i acc[kRows][2];
  const __m256i comp0 = _mm256_maskload_epi32(t.comp, mask0), comp1 = _mm256_maskload_epi32(t.comp + 8, mask1);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) acc[r][0] = comp0, acc[r][1] = comp1;
  if (t.sums) {
    const __m256i zero0 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.weight_zero_points));
    const __m256i zero1 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(t.weight_zero_points + 8));
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m256i sum = _mm256_set1_epi32(t.sums[r]);
      acc[r][0] = _mm256_sub_epi32(acc[r][0], _mm256_mullo_epi32(zero0, sum));
      acc[r][1] = _mm256_sub_epi32(acc[r][1], _mm256_mullo_epi32(zero1, sum));
    }
  }
  const auto* panel = reinterpret_cast<const char*>(t.panel);
  const std::int64_t pitch = t.panel_pitch * static_cast<std::int64_t>(sizeof(typename Dot::Element));
  const auto* weights = reinterpret_cast<const __m256i*>(t.weights);
  for (std::int64_t step = 0; step < t.steps; ++step, weights += 2, panel += 4) {
    const __m256i w0 = _mm256_load_si256(weights), w1 = _mm256_load_si256(weights + 1);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int dword;
      __builtin_memcpy(&dword, panel + r * pitch, 4);
      const __m256i x = _mm256_set1_epi32(dword);
      acc[r][0] = Dot::multiply_add(acc[r][0], x, w0);
      acc[r][1] = Dot::multiply_add(acc[r][1], x, w1);
    }
  }

  const ConvArgs& a = *t.args;
  const int rows = t.rows < kRows ? t.rows : kRows;
  if (a.output == ConvOutput::s32) {
    auto* out = static_cast<std::int32_t*>(t.dst);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
      if (r < rows) {
        _mm256_maskstore_epi32(out + r * t.dst_stride, mask0, acc[r][0]);
        _mm256_maskstore_epi32(out + r * t.dst_stride + 8, mask1, acc[r][1]);
      }
    return;
  }
  const Requantize requantize(a);
  const __m256 scale0 = _mm256_maskload_ps(t.scale, mask0), scale1 = _mm256_maskload_ps(t.scale + 8, mask1);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    if (r >= rows) continue;
    if (a.output == ConvOutput::f32) {
      const __m256 row = _mm256_set1_ps(t.row_scale ? t.row_scale[r] : 1.0F), none = _mm256_set1_ps(-0.0F);
      const __m256 bias0 = t.bias ? _mm256_maskload_ps(t.bias, mask0) : none,
                   bias1 = t.bias ? _mm256_maskload_ps(t.bias + 8, mask1) : none;
      const auto finish = [&](__m256i sum, __m256 scale, __m256 bias) __attribute__((always_inline)) {
        const __m256 v = _mm256_add_ps(_mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), row), scale), bias);
        return _mm256_min_ps(_mm256_max_ps(v, requantize.low), requantize.high);
      };
      const __m256 v0 = finish(acc[r][0], scale0, bias0), v1 = finish(acc[r][1], scale1, bias1);
      auto* out = static_cast<float*>(t.dst) + r * t.dst_stride;
      _mm256_maskstore_ps(out, mask0, v0);
      _mm256_maskstore_ps(out + 8, mask1, v1);
    } else {
      const __m256 v0 = requantize.clamped(acc[r][0], scale0), v1 = requantize.clamped(acc[r][1], scale1);
      auto* out = static_cast<std::uint8_t*>(t.dst) + r * t.dst_stride;
      const __m256i words = _mm256_permute4x64_epi64(requantize.words(v0, v1), 0xD8);
      const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
      if (t.channels == kBlock) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out), bytes);
      } else {
        alignas(16) std::uint8_t buffer[16];
        _mm_store_si128(reinterpret_cast<__m128i*>(buffer), bytes);
        copy_bytes(out, buffer, t.channels);
      }
    }
  }
}

template <class Dot>
void run_tile(const Tile<Dot>& t) {
  switch (t.rows) {
    case 1:
      return compute_tile<Dot, 1>(t);
    case 2:
      return compute_tile<Dot, 2>(t);
    case 3:
      return compute_tile<Dot, 3>(t);
    case 4:
      return compute_tile<Dot, 4>(t);
    case 5:
      return compute_tile<Dot, 5>(t);
    default:
      return compute_tile<Dot, 6>(t);
  }
}

// Copies the inputs of pixels [first, first + rows) of one group; sums (or null) gets the total of each pixel.
template <class Dot>
void fill_panel(const ConvShape& shape, const Geometry<Dot>& g, const std::uint8_t* src, const std::uint8_t* outside,
                std::int64_t first, int rows, typename Dot::Element* panel, std::int32_t* sums) {
  const ConvShape s = shape;  // a copy that the stores of bytes cannot change
  const std::int64_t channels = g.channels, tap_elements = g.steps * Dot::kChannels;
  std::int64_t image = first / (s.oh * s.ow), oy = first / s.ow % s.oh, ox = first % s.ow;
  for (int r = 0; r < rows; ++r) {
    const std::int64_t y = oy * s.stride_h - s.pad_top, x = ox * s.stride_w - s.pad_left;
    typename Dot::Element* out = panel + r * g.panel_pitch;
    std::int32_t sum = 0;
    for (std::int64_t i = 0; i < s.kh; ++i) {
      const std::int64_t iy = y + i * s.dilation_h;
      const bool in_rows = iy >= 0 && iy < s.h;
      const std::uint8_t* row = src + (image * s.h + iy) * s.w * s.src_stride;
      for (std::int64_t j = 0; j < s.kw; ++j, out += tap_elements) {
        const std::int64_t ix = x + j * s.dilation_w;
        const std::uint8_t* in = in_rows && ix >= 0 && ix < s.w ? row + ix * s.src_stride : outside;
        // Whole vectors: what they write too much is overwritten by the next tap or meets zero weights.
        std::int64_t c = 0;
        do Dot::copy(out + c, in + c);
        while ((c += Dot::kCopied) < channels);
        if (sums)
          for (std::int64_t k = 0; k < channels; ++k) sum += in[k];
      }
    }
    if (sums) sums[r] = sum;
    if (++ox == s.ow) {
      ox = 0;
      if (++oy == s.oh) oy = 0, ++image;
    }
  }
}

template <class Dot>
void run_conv(const ConvShape& s, const ConvArgs& a, int worker, int workers) {
  const Geometry<Dot> g(s);
  const auto* header = static_cast<const PackedHeader*>(a.packed);
  const auto* weight_zero_points = reinterpret_cast<const std::int32_t*>(header + 1);
  const auto* weights = static_cast<const std::int8_t*>(a.packed) + weights_offset(s.groups * g.blocks * kBlock);
  auto* scratch = static_cast<std::uint8_t*>(a.workspace) + g.worker_bytes() * worker;
  auto* panel = reinterpret_cast<typename Dot::Element*>(scratch);
  std::uint8_t* outside = scratch + g.panel_bytes();
  __builtin_memset(outside, a.src_zero_point, static_cast<std::size_t>(round_up(g.channels + 64, 64)));

  const std::int64_t all_blocks = s.groups * g.blocks;
  const Split split = split_work(s, all_blocks, all_blocks * g.block_bytes, kMostRows, worker, workers);
  const std::int64_t row_count = split.pixels.end - split.pixels.begin, tiles = (row_count + kMostRows - 1) / kMostRows;
  const std::int64_t chunk = g.block_bytes > kWeightChunkBytes ? 1 : kWeightChunkBytes / g.block_bytes;
  const bool with_sums = Dot::kNeedsSums && header->has_weight_zero_points;
  std::int32_t sums[kMostRows];
  for (std::int64_t begin = split.blocks.begin, end; begin < split.blocks.end; begin = end) {
    const std::int64_t group = begin / g.blocks;
    end = begin + chunk;
    if (end > (group + 1) * g.blocks) end = (group + 1) * g.blocks;
    if (end > split.blocks.end) end = split.blocks.end;
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const Part rows = part(row_count, tile, tiles);
      const std::int64_t first = split.pixels.begin + rows.begin;
      const int count = static_cast<int>(rows.end - rows.begin);
      fill_panel(s, g, a.src + group * g.channels, outside, first, count, panel, with_sums ? sums : nullptr);
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t in_group = (block - group * g.blocks) * kBlock, channel = group * g.outputs + in_group;
        const std::int64_t left = g.outputs - in_group, element = a.output == ConvOutput::u8 ? 1 : 4;
        run_tile(Tile<Dot>{.panel = panel,
                           .panel_pitch = g.panel_pitch,
                           .steps = g.taps * g.steps,
                           .weights = weights + block * g.block_bytes,
                           .comp = a.comp + channel,
                           .scale = a.scale ? a.scale + channel : nullptr,
                           .bias = a.bias ? a.bias + channel : nullptr,
                           .row_scale = a.row_scale ? a.row_scale + first : nullptr,
                           .weight_zero_points = weight_zero_points + block * kBlock,
                           .sums = with_sums ? sums : nullptr,
                           .dst = static_cast<std::uint8_t*>(a.dst) + (first * s.dst_stride + channel) * element,
                           .dst_stride = s.dst_stride,
                           .rows = count,
                           .channels = left < kBlock ? static_cast<int>(left) : kBlock,
                           .args = &a});
      }
    }
  }
}

}  // namespace
}  // namespace zeropoint::kernels
