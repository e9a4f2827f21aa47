// Tiles of panel.h on ymm registers, for x86_avx2.cpp and x86_avx2vnni.cpp. Internal linkage throughout.
#pragma once

#include <immintrin.h>

#include "kernels/conv_q8/panel.h"
#include "kernels/conv_q8/x86_avx2_requantize.h"

namespace zeropoint::kernels {
namespace {

template <class Dot, int kRows>
__attribute__((noinline)) void compute_tile(const Tile<Dot>& t) {
  const ConvArgs& a = *t.args;
  const __m256i mask0 = first_lanes(t.channels), mask1 = first_lanes(t.channels - 8);
  __m256i acc[kRows][2];
  const std::int32_t* comp = a.comp + t.channel;
  const __m256i comp0 = _mm256_maskload_epi32(comp, mask0), comp1 = _mm256_maskload_epi32(comp + 8, mask1);
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

  const int rows = t.rows < kRows ? t.rows : kRows;
  const std::int64_t dst = t.pixel * t.dst_stride + t.channel;
  if (a.output == ConvOutput::s32) {
    auto* out = static_cast<std::int32_t*>(a.dst) + dst;
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
      if (r < rows) {
        _mm256_maskstore_epi32(out + r * t.dst_stride, mask0, acc[r][0]);
        _mm256_maskstore_epi32(out + r * t.dst_stride + 8, mask1, acc[r][1]);
      }
    return;
  }
  const Requantize requantize(a);
  const float *scale = a.scale + t.channel, *bias = a.bias ? a.bias + t.channel : nullptr;
  const __m256 scale0 = _mm256_maskload_ps(scale, mask0), scale1 = _mm256_maskload_ps(scale + 8, mask1);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    if (r >= rows) continue;
    if (a.output == ConvOutput::f32) {
      const __m256 row = _mm256_set1_ps(a.row_scale ? a.row_scale[t.pixel + r] : 1.0F), none = _mm256_set1_ps(-0.0F);
      const __m256 bias0 = bias ? _mm256_maskload_ps(bias, mask0) : none,
                   bias1 = bias ? _mm256_maskload_ps(bias + 8, mask1) : none;
      const auto finish = [&](__m256i sum, __m256 factor, __m256 added) __attribute__((always_inline)) {
        const __m256 v = _mm256_add_ps(_mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), row), factor), added);
        return _mm256_min_ps(_mm256_max_ps(v, requantize.low), requantize.high);
      };
      const __m256 v0 = finish(acc[r][0], scale0, bias0), v1 = finish(acc[r][1], scale1, bias1);
      auto* out = static_cast<float*>(a.dst) + dst + r * t.dst_stride;
      _mm256_maskstore_ps(out, mask0, v0);
      _mm256_maskstore_ps(out + 8, mask1, v1);
    } else {
      const __m256 v0 = requantize.clamped(acc[r][0], scale0), v1 = requantize.clamped(acc[r][1], scale1);
      auto* out = static_cast<std::uint8_t*>(a.dst) + dst + r * t.dst_stride;
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

}  // namespace
}  // namespace zeropoint::kernels
