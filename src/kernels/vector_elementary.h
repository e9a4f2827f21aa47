// exp, sigmoid, tanh, erf and gelu of f32 vectors: the operations of the fp32 forms of numerics/elementary.cpp, in the same
// order, so the same bytes. Internal linkage: for ISA files only.
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
inline F32 scale_by_power_of_two(F32 x, F32 n) { return _mm512_scalef_ps(x, n); }    // one rounding, as two exact halves give
inline F32 size_up_to(F32 most, F32 x) { return _mm512_range_ps(x, most, 0b1010); }  // |x| or less; of NaN anything

struct Index16 {  // the low four bits of each lane
  __m512i lanes;
  explicit Index16(F32 bits) : lanes(_mm512_castps_si512(bits)) {}
  F32 of(const float (&table)[16]) const { return _mm512_permutexvar_ps(lanes, _mm512_load_ps(table)); }
};

#elif defined(__AVX2__)

inline F32 with_sign_of(F32 size, F32 x) { return _mm256_or_ps(size, _mm256_and_ps(x, _mm256_set1_ps(-0.0F))); }
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
inline F32 size_up_to(F32 most, F32 x) { return min(most, abs(x)); }
inline F32 scale_by_power_of_two(F32 x, F32 n) {
  const __m256i bias = _mm256_set1_epi32(127), exponent = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(exponent, 1);
  const auto power = [&](__m256i e) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, bias), 23)); };
  return mul(mul(x, power(half)), power(_mm256_sub_epi32(exponent, half)));
}

struct Index16 {  // the low four bits of each lane
  __m256i lanes;
  __m256 upper;  // the fourth bit as a sign
  explicit Index16(F32 bits) : lanes(_mm256_castps_si256(bits)), upper(_mm256_castsi256_ps(_mm256_slli_epi32(lanes, 28))) {}
  F32 of(const float (&table)[16]) const {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(_mm256_load_ps(table), lanes),
                            _mm256_permutevar8x32_ps(_mm256_load_ps(table + 8), lanes), upper);
  }
};

#else  // NEON

inline F32 with_sign_of(F32 size, F32 x) {
  const uint32x4_t sign = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x80000000U));
  return vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(size), sign));
}
inline F32 select_less(F32 a, F32 b, F32 yes, F32 no) { return vbslq_f32(vcltq_f32(a, b), yes, no); }
inline F32 size_up_to(F32 most, F32 x) { return min(most, abs(x)); }
inline F32 scale_by_power_of_two(F32 x, F32 n) {
  const int32x4_t bias = vdupq_n_s32(127), exponent = vcvtnq_s32_f32(n), half = vshrq_n_s32(exponent, 1);
  const auto power = [&](int32x4_t e) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e, bias), 23)); };
  return mul(mul(x, power(half)), power(vsubq_s32(exponent, half)));
}

struct Index16 {  // the low four bits of each lane
  uint8x16_t bytes;
  explicit Index16(F32 bits) {
    const uint32x4_t lanes = vandq_u32(vreinterpretq_u32_f32(bits), vdupq_n_u32(15));
    bytes = vreinterpretq_u8_u32(vmlaq_u32(vdupq_n_u32(0x03020100U), lanes, vdupq_n_u32(0x04040404U)));
  }
  F32 of(const float (&table)[16]) const {
    const auto* at = reinterpret_cast<const uint8_t*>(table);
    const uint8x16x4_t all = {{vld1q_u8(at), vld1q_u8(at + 16), vld1q_u8(at + 32), vld1q_u8(at + 48)}};
    return vreinterpretq_f32_u8(vqtbl4q_u8(all, bytes));
  }
};

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

// Of x <= 0 or NaN: the same bytes in fewer operations.
inline F32 exp_of_negative(F32 x) {
#if defined(__AVX512F__)
  // What is below the limit may become anything on the way; lanes that are not asked for never pass subnormal numbers.
  const F32 shift = broadcast(numerics::kShiftFloat);
  const F32 n = sub(fma(x, broadcast(numerics::kPerLog2Float), shift), shift);
  const F32 r = fnma(n, broadcast(numerics::kLog2LowFloat), fnma(n, broadcast(numerics::kLog2HighFloat), x));
  const F32 value = add(fma(mul(r, r), polynomial(numerics::kExpFloat, r), r), broadcast(1.0F));
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, broadcast(numerics::kExpLowFloat), _CMP_NLT_UQ), value, n);
#else
  return exp(x);
#endif
}

inline F32 sigmoid(F32 x) {
  const F32 one = broadcast(1.0F), zero = broadcast(0.0F);
  const F32 e = exp_of_negative(neg(abs(x)));
  return div(select_less(x, zero, e, one), add(one, e));
}

inline F32 tanh(F32 x) {
  const F32 one = broadcast(1.0F), two = broadcast(2.0F), size = abs(x), square = mul(x, x);
  const F32 small = fma(mul(size, square), polynomial(numerics::kTanhFloat, square), size);
  const F32 large = sub(one, div(two, add(exp(mul(two, size)), one)));
  return with_sign_of(select_less(size, broadcast(numerics::kTanhSmallFloat), small, large), x);
}

inline F32 erf_of_size(F32 size) {  // up to kErfEndFloat
  using numerics::kErfFloat;
  const Index16 part(fma(size, broadcast(numerics::kErfPartsPerOne), broadcast(numerics::kShiftFloat)));
  const F32 d = sub(size, part.of(kErfFloat[0]));
  F32 value = part.of(kErfFloat[numerics::kErfDegree + 2]);
#pragma GCC unroll 4
  for (int i = numerics::kErfDegree + 1; i > 1; --i) value = fma(value, d, part.of(kErfFloat[i]));
  const F32 start = select_less(broadcast(numerics::kErfFirstFloat), size, part.of(kErfFloat[1]), size);
  return fma(value, d, start);
}

inline F32 erf(F32 x) {
  return with_sign_of(erf_of_size(min(broadcast(numerics::kErfEndFloat), abs(x))), x);  // NaN stays
}

// x / sqrt(2) by the reciprocal as a sum of two: rounded as the division rounds it down to 2^-100, where the small term stops
// being normal. Smaller results may be one off in their last place, but their erf is lost beside 1 (matmul_q8_test.cpp has
// both).
inline F32 by_root_of_two(F32 x) { return fma(x, broadcast(0.707106769F), mul(x, broadcast(2.4203235e-08F))); }

// (0.5 * x) * (1 + erf(x / sqrt(2))). 0.5 + 0.5 * erf is half of 1 + erf, rounded alike, and to halve x is exact but where the
// other factor is 1.
inline F32 gelu(F32 x) {
  const F32 half = broadcast(0.5F), size = size_up_to(broadcast(numerics::kErfEndFloat), by_root_of_two(x));
  return mul(x, fma(half, with_sign_of(erf_of_size(size), x), half));
}

}  // namespace
}  // namespace zeropoint::kernels
