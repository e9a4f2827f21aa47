// Rows cut into groups of 16 elements, 16 / kLanes vectors, so that each lane of a group is one of the 16 sums of
// numerics/lane_sum.h on every ISA. Internal linkage: for ISA files only.
#pragma once

#include "kernels/vector.h"

namespace zeropoint::kernels {
namespace {

constexpr int kGroup = 16, kGroupVectors = kGroup / kLanes;

struct Lanes16 {
  F32 v[kGroupVectors];
};

inline Lanes16 lanes_of(float x) {
  Lanes16 lanes;
#pragma GCC unroll 4
  for (int i = 0; i < kGroupVectors; ++i) lanes.v[i] = broadcast(x);
  return lanes;
}

// x where the part holds an element, `other` beyond.
inline F32 within(F32 x, F32, Whole) { return x; }
inline F32 within(F32 x, F32 other, Part part) {
#if defined(__AVX512F__)
  return _mm512_mask_blend_ps(lane_mask(part), other, x);
#elif defined(__AVX2__)
  return _mm256_blendv_ps(other, x, _mm256_castsi256_ps(lane_mask(part)));
#else
  const int32_t index[4] = {0, 1, 2, 3};
  return vbslq_f32(vcltq_s32(vld1q_s32(index), vdupq_n_s32(part.count)), x, other);
#endif
}

// Combines the 16 lanes as lane_sum does: those 8 apart, then 4, 2, 1.
template <class Op>
inline float fold(const Lanes16& lanes, const Op& op) {
  float x[kGroup];
#if defined(__AVX512F__)
  const __m256 high = _mm512_extractf32x8_ps(lanes.v[0], 1), low = _mm512_castps512_ps256(lanes.v[0]);
  _mm512_storeu_ps(x, op(_mm512_castps256_ps512(low), _mm512_castps256_ps512(high)));
#elif defined(__AVX2__)
  store(x, op(lanes.v[0], lanes.v[1]), Whole{});
#else
  store(x, op(lanes.v[0], lanes.v[2]), Whole{});
  store(x + 4, op(lanes.v[1], lanes.v[3]), Whole{});
#endif
#if defined(__x86_64__)
  const auto wide = [](__m128 v) {
#if defined(__AVX512F__)
    return _mm512_castps128_ps512(v);
#else
    return _mm256_castps128_ps256(v);
#endif
  };
  const auto narrow_to = [](F32 v) {
#if defined(__AVX512F__)
    return _mm512_castps512_ps128(v);
#else
    return _mm256_castps256_ps128(v);
#endif
  };
  __m128 four = narrow_to(op(wide(_mm_loadu_ps(x)), wide(_mm_loadu_ps(x + 4))));
  four = narrow_to(op(wide(four), wide(_mm_movehl_ps(four, four))));
  four = narrow_to(op(wide(four), wide(_mm_shuffle_ps(four, four, 1))));
  return _mm_cvtss_f32(four);
#else
  float32x4_t four = op(vld1q_f32(x), vld1q_f32(x + 4));
  four = op(four, vcombine_f32(vget_high_f32(four), vget_high_f32(four)));
  four = op(four, vdupq_laneq_f32(four, 1));
  return vgetq_lane_f32(four, 0);
#endif
}

inline float sum_of(const Lanes16& lanes) {
  return fold(lanes, [](F32 a, F32 b) { return add(a, b); });
}

// body(i, vector of the group, part) over [0, width); vectors that hold nothing are left out.
template <class Body>
inline void for_each_group(int64_t width, const Body& body) {
  int64_t i = 0;
  for (; i + kGroup <= width; i += kGroup)
#pragma GCC unroll 4
    for (int v = 0; v < kGroupVectors; ++v) body(i + v * kLanes, v, Whole{});
#pragma GCC unroll 4
  for (int v = 0; v < kGroupVectors; ++v) {
    const int64_t left = width - i - v * kLanes;
    if (left >= kLanes)
      body(i + v * kLanes, v, Whole{});
    else if (left > 0)
      body(i + v * kLanes, v, Part{static_cast<int>(left)});
  }
}

}  // namespace
}  // namespace zeropoint::kernels
