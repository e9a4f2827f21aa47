// exp, sigmoid, tanh and erf of f32 vectors: the operations of the fp32 forms of numerics/elementary.cpp, in the same order, so
// the same bytes. Internal linkage: for ISA files only.
#pragma once

#include "kernels/vector.h"
#include "numerics/elementary_coefficients.h"

namespace zeropoint::kernels {
namespace {

#if defined(__AVX512F__)

inline F32 with_sign_of(F32 size, F32 x) {  // size is positive or NaN
  return _mm512_or_ps(size, _mm512_and_ps(x, _mm512_set1_ps(-0.0F)));
}
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) {  // a < b ? yes : no
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
inline F32 scale_by_power_of_two(F32 x, F32 n) { return _mm512_scalef_ps(x, n); }  // one rounding, as two exact halves give

#elif defined(__AVX2__)

inline F32 with_sign_of(F32 size, F32 x) { return _mm256_or_ps(size, _mm256_and_ps(x, _mm256_set1_ps(-0.0F))); }
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
inline F32 scale_by_power_of_two(F32 x, F32 n) {
  const __m256i bias = _mm256_set1_epi32(127), exponent = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(exponent, 1);
  const auto power = [&](__m256i e) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, bias), 23)); };
  return mul(mul(x, power(half)), power(_mm256_sub_epi32(exponent, half)));
}

#else  // NEON

inline F32 with_sign_of(F32 size, F32 x) {
  const uint32x4_t sign = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x80000000U));
  return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(size), sign));
}
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) { return vbslq_f32(vcltq_f32(a, b), yes, no); }
inline F32 scale_by_power_of_two(F32 x, F32 n) {
  const int32x4_t bias = vdupq_n_s32(127), exponent = vcvtnq_s32_f32(n), half = vshrq_n_s32(exponent, 1);
  const auto power = [&](int32x4_t e) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e, bias), 23)); };
  return mul(mul(x, power(half)), power(vsubq_s32(exponent, half)));
}

#endif

template <int kCount>
inline F32 polynomial(const float (&coefficients)[kCount], F32 x) {  // ascending powers
  F32 value = broadcast(coefficients[kCount - 1]);
#pragma GCC unroll 32
  for (int i = kCount - 2; i >= 0; --i) value = fma(value, x, broadcast(coefficients[i]));
  return value;
}

inline F32 exp(F32 x) {
  // Where the result is 0 the way there must not pass subnormal numbers, which are slow: softmax of masked rows.
  const F32 given = x, low = broadcast(numerics::kExpLowFloat), zero = broadcast(0.0F);
  x = min(broadcast(numerics::kExpHighFloat), select_less(given, low, zero, given));  // NaN stays
  const F32 shift = broadcast(numerics::kShiftFloat);
  const F32 n = sub(fma(x, broadcast(numerics::kPerLog2Float), shift), shift);
  const F32 r = fnma(n, broadcast(numerics::kLog2LowFloat), fnma(n, broadcast(numerics::kLog2HighFloat), x));
  const F32 value = add(fma(mul(r, r), polynomial(numerics::kExpFloat, r), r), broadcast(1.0F));
  return select_less(given, low, zero, scale_by_power_of_two(value, n));
}

inline F32 sigmoid(F32 x) {
  const F32 one = broadcast(1.0F), zero = broadcast(0.0F);
  const F32 e = exp(neg(abs(x)));
  return div(select_less(x, zero, e, one), add(one, e));
}

inline F32 tanh(F32 x) {
  const F32 one = broadcast(1.0F), two = broadcast(2.0F), size = abs(x), square = mul(x, x);
  const F32 small = fma(mul(size, square), polynomial(numerics::kTanhFloat, square), size);
  const F32 large = sub(one, div(two, add(exp(mul(two, size)), one)));
  return with_sign_of(select_less(size, broadcast(numerics::kTanhSmallFloat), small, large), x);
}

inline F32 erf(F32 x) {
  const F32 one = broadcast(1.0F), size = abs(x);
  const F32 small = fma(size, polynomial(numerics::kErfSmallFloat, mul(x, x)), size);
  const F32 end = broadcast(numerics::kErfEndFloat);
  const F32 curve = sub(one, polynomial(numerics::kErfcLargeFloat, sub(size, broadcast(numerics::kErfMiddleFloat))));
  const F32 large = select_less(size, end, curve, one);
  return with_sign_of(select_less(one, size, large, small), x);  // NaN: small, which is NaN
}

}  // namespace
}  // namespace zeropoint::kernels
