// Weight-only products in vectors of any width: the body of each ISA file. See vector.h.
//
// Columns lie in panels of 32, row after row, so a row of a panel is one or a few vectors of integers; they become real in
// registers and meet up to kMostRows rows of x there. Many rows: the panel is made real once, in scratch.
#pragma once

#include "kernels/matmul_wq/matmul_wq_functions.h"
#include "kernels/vector.h"

namespace zeropoint::kernels {
namespace {

constexpr int kVectors = 32 / kLanes;
constexpr int kMostRows = kVectors == 2 ? 8 : 2;

#if defined(__AVX512F__)
inline S32 low_nibbles(S32 v) { return _mm512_and_si512(v, _mm512_set1_epi32(15)); }
inline S32 high_nibbles(S32 v) { return _mm512_srli_epi32(v, 4); }
#elif defined(__x86_64__)
inline S32 low_nibbles(S32 v) { return _mm256_and_si256(v, _mm256_set1_epi32(15)); }
inline S32 high_nibbles(S32 v) { return _mm256_srli_epi32(v, 4); }
#else
inline S32 low_nibbles(S32 v) { return vandq_s32(v, vdupq_n_s32(15)); }
inline S32 high_nibbles(S32 v) { return vshrq_n_s32(v, 4); }
#endif

// Rows of a panel as real numbers, in order of k: visit(k, w[kVectors]).
template <int kBits, class Visit>
inline __attribute__((always_inline)) void for_each_row(const WqShape& s, const uint8_t* q, const float* scale,
                                                        const float* zero, const Visit& visit) {
  for (int64_t first = 0; first < s.k; first += s.block, scale += kWqPanel, zero += kWqPanel) {
    const int64_t end = first + s.block < s.k ? first + s.block : s.k;
    F32 factor[kVectors], shift[kVectors], w[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      factor[v] = load(scale + v * kLanes, Whole{});
      shift[v] = load(zero + v * kLanes, Whole{});
    }
    if constexpr (kBits == 8) {
      for (int64_t k = first; k < end; ++k, q += kWqPanel) {
        for (int v = 0; v < kVectors; ++v) w[v] = mul(sub(to_float(widen(q + v * kLanes, Whole{})), shift[v]), factor[v]);
        visit(k, w);
      }
    } else {
      for (int64_t k = first; k < end; k += 2, q += kWqPanel) {
        S32 pairs[kVectors];
        for (int v = 0; v < kVectors; ++v) pairs[v] = widen(q + v * kLanes, Whole{});
        for (int v = 0; v < kVectors; ++v) w[v] = mul(sub(to_float(low_nibbles(pairs[v])), shift[v]), factor[v]);
        visit(k, w);
        if (k + 1 == end) continue;
        for (int v = 0; v < kVectors; ++v) w[v] = mul(sub(to_float(high_nibbles(pairs[v])), shift[v]), factor[v]);
        visit(k + 1, w);
      }
    }
  }
}

template <int kRows>
inline void finish(const WqShape& s, const WqArgs& a, int64_t row, int64_t panel, const F32 (&sum)[kRows][kVectors]) {
  const int64_t column = panel * kWqPanel, left = s.n - column;
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) {
      if (v * kLanes >= left) break;
      F32 y = sum[r][v];
      if (a.bias) y = add(y, load(a.bias + column + v * kLanes, Whole{}));
      y = min(max(y, broadcast(a.low)), broadcast(a.high));
      float* to = a.y + (row + r) * s.n + column + v * kLanes;
      if (left - v * kLanes >= kLanes)
        store(to, y, Whole{});
      else
        store(to, y, Part{static_cast<int>(left - v * kLanes)});
    }
}

// kBits 4 or 8: from integers; 32: from the panel in scratch.
template <int kBits, int kRows>
void tile(const WqShape& s, const WqArgs& a, int64_t row, int64_t panel, const float* real) {
  F32 sum[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = broadcast(0.0F);
  const float* x = a.x + row * s.k;
  const auto visit = [&](int64_t k, const F32(&w)[kVectors]) __attribute__((always_inline)) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F32 factor = broadcast(x[r * s.k + k]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(factor, w[v], sum[r][v]);
    }
  };
  if constexpr (kBits == 32) {
    for (int64_t k = 0; k < s.k; ++k) {
      F32 w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = load(real + k * kWqPanel + v * kLanes, Whole{});
      visit(k, w);
    }
  } else {
    const int64_t steps = kBits == 8 ? s.k : (s.k + 1) / 2, at = panel * s.blocks() * kWqPanel;
    for_each_row<kBits>(s, a.q + panel * steps * kWqPanel, a.scale + at, a.zero + at, visit);
  }
  finish<kRows>(s, a, row, panel, sum);
}

template <int kBits>
void rows_of_panel(const WqShape& s, const WqArgs& a, int64_t panel, const float* real) {
  int64_t row = 0;
  if constexpr (kMostRows == 8) {
    for (; row + 8 <= a.m; row += 8) tile<kBits, 8>(s, a, row, panel, real);
    if (row + 4 <= a.m) tile<kBits, 4>(s, a, row, panel, real), row += 4;
  }
  for (; row + 2 <= a.m; row += 2) tile<kBits, 2>(s, a, row, panel, real);
  for (; row < a.m; ++row) tile<kBits, 1>(s, a, row, panel, real);
}

template <int kBits>
void run_panels(const WqShape& s, const WqArgs& a, int worker, int workers) {
  const int64_t begin = s.panels() * worker / workers, end = s.panels() * (worker + 1) / workers;
  for (int64_t panel = begin; panel < end; ++panel) {
    if (a.m < kWqManyRows) {
      rows_of_panel<kBits>(s, a, panel, nullptr);
      continue;
    }
    float* real = a.scratch + s.k * kWqPanel * worker;
    const int64_t steps = kBits == 8 ? s.k : (s.k + 1) / 2, at = panel * s.blocks() * kWqPanel;
    for_each_row<kBits>(s, a.q + panel * steps * kWqPanel, a.scale + at, a.zero + at, [&](int64_t k, const F32(&w)[kVectors]) {
      for (int v = 0; v < kVectors; ++v) store(real + k * kWqPanel + v * kLanes, w[v], Whole{});
    });
    rows_of_panel<32>(s, a, panel, real);
  }
}

void run(const WqShape& s, const WqArgs& a, int worker, int workers) noexcept {
  if (s.bits == 8)
    run_panels<8>(s, a, worker, workers);
  else
    run_panels<4>(s, a, worker, workers);
}

}  // namespace
}  // namespace zeropoint::kernels
