// Tiles of panel.h on ymm registers, for x86_avx2.cpp and x86_avx2vnni.cpp. Internal linkage throughout.
#pragma once

#include <immintrin.h>

#include "kernels/conv_q8/panel.h"
#include "kernels/conv_q8/x86_avx2_requantize.h"

namespace zeropoint::kernels {
namespace {

template <class Dot, int kRows, int kVectors>
void store_wide(const Tile<Dot>& t, const __m256i (&acc)[kRows][kVectors], __m256i mask0, __m256i mask1) {
  const ConvArgs& a = *t.args;
  const std::int64_t dst = t.pixel * t.dst_stride + t.channel;
  if (a.output == ConvOutput::s32) {
    auto* out = static_cast<std::int32_t*>(a.dst) + dst;
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      _mm256_maskstore_epi32(out + r * t.dst_stride, mask0, acc[r][0]);
      _mm256_maskstore_epi32(out + r * t.dst_stride + 8, mask1, acc[r][kVectors - 1]);
    }
    return;
  }
  const float *scale = a.scale + t.channel, *bias = a.bias ? a.bias + t.channel : nullptr;
  const __m256 scale0 = _mm256_maskload_ps(scale, mask0), scale1 = _mm256_maskload_ps(scale + 8, mask1);
  const __m256 none = _mm256_set1_ps(-0.0F), low = _mm256_set1_ps(a.low), high = _mm256_set1_ps(a.high);
  const __m256 bias0 = bias ? _mm256_maskload_ps(bias, mask0) : none, bias1 = bias ? _mm256_maskload_ps(bias + 8, mask1) : none;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const __m256 row = _mm256_set1_ps(a.row_scale ? a.row_scale[t.pixel + r] : 1.0F);
    const auto finish = [&](__m256i sum, __m256 factor, __m256 added) __attribute__((always_inline)) {
      const __m256 v = _mm256_add_ps(_mm256_mul_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(sum), row), factor), added);
      return _mm256_min_ps(_mm256_max_ps(v, low), high);
    };
    auto* out = static_cast<float*>(a.dst) + dst + r * t.dst_stride;
    _mm256_maskstore_ps(out, mask0, finish(acc[r][0], scale0, bias0));
    _mm256_maskstore_ps(out + 8, mask1, finish(acc[r][kVectors - 1], scale1, bias1));
  }
}

template <bool kBiased, class Dot, int kRows, int kVectors>
__attribute__((always_inline)) inline void store_u8(const Tile<Dot>& t, const __m256i (&acc)[kRows][kVectors], __m256i mask0,
                                                    __m256i mask1) {
  const ConvArgs& a = *t.args;
  const Requantize& requantize = *t.requantize;
  const float* scales = a.scale + t.channel;
  const __m256 scale[2] = {_mm256_maskload_ps(scales, mask0), _mm256_maskload_ps(scales + 8, mask1)};
  const __m256 factor = _mm256_set1_ps(Requantize::kShift);
  const __m256 shift[2] = {_mm256_mul_ps(scale[0], factor), _mm256_mul_ps(scale[1], factor)};
  const auto words = [&](int r) __attribute__((always_inline)) {
    return requantize.words<kBiased>(Requantize::value<kBiased>(acc[r][0], scale[0], shift[0]),
                                     Requantize::value<kBiased>(acc[r][kVectors - 1], scale[1], shift[1]));
  };
  auto* out = static_cast<std::uint8_t*>(a.dst) + t.pixel * t.dst_stride + t.channel;
#pragma GCC unroll 6
  for (int r = 0; r < kRows; r += 2) {
    const __m256i both = requantize.bytes(words(r), words(r + 1 < kRows ? r + 1 : r));
    const __m256i q = _mm256_permutevar8x32_epi32(both, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    store_bytes(out + r * t.dst_stride, _mm256_castsi256_si128(q), t.channels);
    if (r + 1 < kRows) store_bytes(out + (r + 1) * t.dst_stride, _mm256_extracti128_si256(q, 1), t.channels);
  }
}

template <class Dot, int kRows, int kVectors>
__attribute__((noinline)) void compute_vectors(const Tile<Dot>& t) {
  const ConvArgs& a = *t.args;
  const __m256i masks[2] = {first_lanes(t.channels), first_lanes(t.channels - 8)};
  const Requantize& requantize = *t.requantize;
  // Few sums would wait for each other: then neighbouring steps have their own.
  constexpr int kChains = Dot::kUnrolled == 1 || kRows > 3 ? 1 : kRows == 1 ? 4 : 2;
  __m256i chains[kChains][kRows][kVectors];
  __m256i(&acc)[kRows][kVectors] = chains[0];
#pragma GCC unroll 4
  for (int chain = 1; chain < kChains; ++chain)
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) chains[chain][r][v] = _mm256_setzero_si256();
  const auto load = [](const std::int32_t* from)
                        __attribute__((always_inline)) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); };
  if (t.carried_in) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[r][v] = load(t.carried_in + r * kBlock + 8 * v);
  } else {
    const __m256i bias = _mm256_set1_epi32(requantize.biased ? Requantize::kBias : 0);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      const __m256i comp = _mm256_add_epi32(_mm256_maskload_epi32(a.comp + t.channel + 8 * v, masks[v]), bias);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r) acc[r][v] = comp;
      if (!t.sums) continue;
      const __m256i zero_points = load(t.weight_zero_points + 8 * v);
#pragma GCC unroll 6
      for (int r = 0; r < kRows; ++r)
        acc[r][v] = _mm256_sub_epi32(acc[r][v], _mm256_mullo_epi32(zero_points, _mm256_set1_epi32(t.sums[r])));
    }
  }
  const auto* panel = reinterpret_cast<const char*>(t.panel);
  const std::int64_t pitch = t.panel_pitch * static_cast<std::int64_t>(sizeof(typename Dot::Element));
  const auto* weights = reinterpret_cast<const __m256i*>(t.weights);
  const auto step = [&](int i) __attribute__((always_inline)) {
    __m256i w[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) w[v] = _mm256_load_si256(weights + 2 * i + v);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      int dword;
      __builtin_memcpy(&dword, panel + r * pitch + 4 * i, 4);
      const __m256i x = _mm256_set1_epi32(dword);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        __m256i& sum = chains[i % kChains][r][v];
        sum = Dot::multiply_add(sum, x, w[v]);
      }
    }
  };
  std::int64_t left = t.steps;
  for (; left >= Dot::kUnrolled; left -= Dot::kUnrolled, weights += 2 * Dot::kUnrolled, panel += 4 * Dot::kUnrolled) {
#pragma GCC unroll 4
    for (int i = 0; i < Dot::kUnrolled; ++i) step(i);
  }
  if constexpr (Dot::kUnrolled > 1)
    for (; left > 0; --left, weights += 2, panel += 4) step(0);

#pragma GCC unroll 4
  for (int chain = 1; chain < kChains; ++chain)
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) acc[r][v] = _mm256_add_epi32(acc[r][v], chains[chain][r][v]);

  if (t.carried_out) {
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(t.carried_out + r * kBlock + 8 * v), acc[r][v]);
    return;
  }
  if (a.output != ConvOutput::u8) return store_wide(t, acc, masks[0], masks[1]);
  if (requantize.biased) return store_u8<true>(t, acc, masks[0], masks[1]);
  store_u8<false>(t, acc, masks[0], masks[1]);
}

// A block of at most 8 channels is half the work.
template <class Dot, int kRows>
void compute_tile(const Tile<Dot>& t) {
  if (t.channels <= 8) return compute_vectors<Dot, kRows, 1>(t);
  compute_vectors<Dot, kRows, 2>(t);
}

}  // namespace
}  // namespace zeropoint::kernels
