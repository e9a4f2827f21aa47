// Quantization of floats by the scale of their largest size, around zero: q = clamp(round_half_even(x / scale), -128, 127),
// NaN gives -128. Internal linkage: for ISA files only.
#pragma once

#include <float.h>

#include "kernels/vector.h"

namespace zeropoint::kernels {
namespace {

// Whether some lane is not at most `limit`; NaN is not.
inline bool any_beyond(F32 v, F32 limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(v, limit, _CMP_NLE_UQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(v, limit, _CMP_NLE_UQ)) != 0;
#else
  return vminvq_u32(vcleq_f32(v, limit)) == 0;
#endif
}

inline float largest_lane(F32 v) {  // without NaN
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps(v);
#elif defined(__AVX2__)
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
#else
  return vmaxvq_f32(v);
#endif
}

inline float largest_size(const float* x, int64_t count) {  // NaN is left out
  constexpr int kChains = 4;
  constexpr int64_t kAtOnce = kChains * kLanes;
  F32 most[kChains] = {broadcast(0), broadcast(0), broadcast(0), broadcast(0)};
  int64_t i = 0;
  for (; i + kAtOnce <= count; i += kAtOnce)
#pragma GCC unroll 4
    for (int k = 0; k < kChains; ++k) most[k] = max(abs(load(x + i + k * kLanes, Whole{})), most[k]);
  for_each_vector(i, count, [&](int64_t j, auto part) { most[0] = max(abs(load(x + j, part)), most[0]); });
  return largest_lane(max(max(most[0], most[1]), max(most[2], most[3])));
}

inline float symmetric_scale(float most) {
  const float ratio = most / 127.0F;
  return ratio > FLT_MIN ? ratio : FLT_MIN;
}

// x / scale is wanted as an integer only: x * r + 1.5 * 2^23 rounds x * r to one, in the low bits of the sum. The quotient as
// the division rounds it lies between x * low and x * high, so where both give the same integer it does too. Vectors with lanes
// that lie almost half way between two are divided, and all of them where the reciprocal may be no normal number.
constexpr float kToInteger = 12582912.0F, kLower = 1 - 0x1p-21F, kHigher = 1 + 0x1p-21F;

inline bool any_differ(F32 a, F32 b) {  // NaN does
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_NEQ_UQ)) != 0;
#else
  return vminvq_u32(vceqq_f32(a, b)) == 0;
#endif
}

// The low byte of each lane is q, the others are anything. |x| is at most 127 * scale, or infinite, or x is NaN.
class SymmetricQuantizer {
 public:
  explicit SymmetricQuantizer(float scale) : SymmetricQuantizer(broadcast(scale), scale > kTiny && scale < kHuge) {}
  // A scale a lane.
  explicit SymmetricQuantizer(F32 scale)
      : SymmetricQuantizer(scale, !any_beyond(broadcast(kTiny), scale) && !any_beyond(scale, broadcast(kHuge))) {}

  S32 operator()(F32 x) const {
    const F32 a = fma(x, low_, broadcast(kToInteger)), b = fma(x, high_, broadcast(kToInteger));
    if (__builtin_expect(!any_differ(a, b), 1)) return bits_of(a);
    return max(to_nearest(min(broadcast(127), div(x, scale_))), broadcast_s32(-128));
  }

 private:
  static constexpr float kTiny = 0x1p-100F, kHuge = 0x1p100F;

  SymmetricQuantizer(F32 scale, bool certain) : scale_(scale) {
    const F32 inverse = certain ? div(broadcast(1), scale) : broadcast(__builtin_nanf(""));
    low_ = mul(inverse, broadcast(kLower)), high_ = mul(inverse, broadcast(kHigher));
  }

  F32 scale_, low_, high_;
};

// dst = q + zero_point, its low byte.
inline void quantize_symmetric(const float* x, int64_t count, float scale, int32_t zero_point, uint8_t* dst) {
  const SymmetricQuantizer quantizer(scale);
  const S32 middle = broadcast_s32(zero_point);
  for_each_vector(0, count, [&](int64_t i, auto part) { narrow(dst + i, add(quantizer(load(x + i, part)), middle), part); });
}

}  // namespace
}  // namespace zeropoint::kernels
