// exp, sigmoid, tanh and erf of f32 vectors: the operations of numerics/elementary.cpp on vectors of doubles, in the same
// order, so the same bytes. Internal linkage: for ISA files only.
#pragma once

#include "kernels/vector.h"
#include "numerics/elementary_coefficients.h"

namespace zeropoint::kernels {
namespace {

#if defined(__AVX512F__)

using F64 = __m512d;
struct Halves {
  F64 low, high;
};
inline Halves to_doubles(F32 x) {
  return {_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1))};
}
inline F32 to_floats(Halves x) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.low)), _mm512_cvtpd_ps(x.high), 1);
}
inline F64 broadcast_f64(double x) { return _mm512_set1_pd(x); }
inline F64 add(F64 a, F64 b) { return _mm512_add_pd(a, b); }
inline F64 sub(F64 a, F64 b) { return _mm512_sub_pd(a, b); }
inline F64 mul(F64 a, F64 b) { return _mm512_mul_pd(a, b); }
inline F64 div(F64 a, F64 b) { return _mm512_div_pd(a, b); }
inline F64 min(F64 a, F64 b) { return _mm512_min_pd(a, b); }
inline F64 max(F64 a, F64 b) { return _mm512_max_pd(a, b); }
inline F64 abs(F64 a) { return _mm512_abs_pd(a); }
inline F64 with_sign_of(F64 size, F64 x) {  // size is positive or NaN
  const __m512i sign = _mm512_and_si512(_mm512_castpd_si512(x), _mm512_set1_epi64(INT64_MIN));
  return _mm512_castsi512_pd(_mm512_or_si512(_mm512_castpd_si512(size), sign));
}
inline F64 select_greater(F64 a, F64 b, F64 yes, F64 no) {  // a > b ? yes : no
  return _mm512_mask_blend_pd(_mm512_cmp_pd_mask(a, b, _CMP_GT_OQ), no, yes);
}
inline F64 power_of_two(F64 shifted) {  // 2^n of n + 1.5 * 2^52, |n| < 1022
  const __m512i n = _mm512_sub_epi64(_mm512_castpd_si512(shifted), _mm512_set1_epi64(0x4338000000000000 - 1023));
  return _mm512_castsi512_pd(_mm512_slli_epi64(n, 52));
}

#elif defined(__AVX2__)

using F64 = __m256d;
struct Halves {
  F64 low, high;
};
inline Halves to_doubles(F32 x) {
  return {_mm256_cvtps_pd(_mm256_castps256_ps128(x)), _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}
inline F32 to_floats(Halves x) { return _mm256_set_m128(_mm256_cvtpd_ps(x.high), _mm256_cvtpd_ps(x.low)); }
inline F64 broadcast_f64(double x) { return _mm256_set1_pd(x); }
inline F64 add(F64 a, F64 b) { return _mm256_add_pd(a, b); }
inline F64 sub(F64 a, F64 b) { return _mm256_sub_pd(a, b); }
inline F64 mul(F64 a, F64 b) { return _mm256_mul_pd(a, b); }
inline F64 div(F64 a, F64 b) { return _mm256_div_pd(a, b); }
inline F64 min(F64 a, F64 b) { return _mm256_min_pd(a, b); }
inline F64 max(F64 a, F64 b) { return _mm256_max_pd(a, b); }
inline F64 abs(F64 a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
inline F64 with_sign_of(F64 size, F64 x) { return _mm256_or_pd(size, _mm256_and_pd(x, _mm256_set1_pd(-0.0))); }
inline F64 select_greater(F64 a, F64 b, F64 yes, F64 no) { return _mm256_blendv_pd(no, yes, _mm256_cmp_pd(a, b, _CMP_GT_OQ)); }
inline F64 power_of_two(F64 shifted) {
  const __m256i n = _mm256_sub_epi64(_mm256_castpd_si256(shifted), _mm256_set1_epi64x(0x4338000000000000 - 1023));
  return _mm256_castsi256_pd(_mm256_slli_epi64(n, 52));
}

#else  // NEON

using F64 = float64x2_t;
struct Halves {
  F64 low, high;
};
inline Halves to_doubles(F32 x) { return {vcvt_f64_f32(vget_low_f32(x)), vcvt_high_f64_f32(x)}; }
inline F32 to_floats(Halves x) { return vcvt_high_f32_f64(vcvt_f32_f64(x.low), x.high); }
inline F64 broadcast_f64(double x) { return vdupq_n_f64(x); }
inline F64 add(F64 a, F64 b) { return vaddq_f64(a, b); }
inline F64 sub(F64 a, F64 b) { return vsubq_f64(a, b); }
inline F64 mul(F64 a, F64 b) { return vmulq_f64(a, b); }
inline F64 div(F64 a, F64 b) { return vdivq_f64(a, b); }
inline F64 min(F64 a, F64 b) { return vbslq_f64(vcltq_f64(a, b), a, b); }
inline F64 max(F64 a, F64 b) { return vbslq_f64(vcgtq_f64(a, b), a, b); }
inline F64 abs(F64 a) { return vabsq_f64(a); }
inline F64 with_sign_of(F64 size, F64 x) {
  const uint64x2_t sign = vandq_u64(vreinterpretq_u64_f64(x), vdupq_n_u64(uint64_t{1} << 63));
  return vreinterpretq_f64_u64(vorrq_u64(vreinterpretq_u64_f64(size), sign));
}
inline F64 select_greater(F64 a, F64 b, F64 yes, F64 no) { return vbslq_f64(vcgtq_f64(a, b), yes, no); }
inline F64 power_of_two(F64 shifted) {
  const int64x2_t n = vsubq_s64(vreinterpretq_s64_f64(shifted), vdupq_n_s64(0x4338000000000000 - 1023));
  return vreinterpretq_f64_s64(vshlq_n_s64(n, 52));
}

#endif

template <int kCount>
inline F64 polynomial(const double (&coefficients)[kCount], F64 x) {  // ascending powers
  F64 value = broadcast_f64(coefficients[kCount - 1]);
#pragma GCC unroll 32
  for (int i = kCount - 2; i >= 0; --i) value = add(mul(value, x), broadcast_f64(coefficients[i]));
  return value;
}

// For |x| beyond 700 the argument is cut there: rounded to f32 the result, and what is made of it here, is infinite or 0 as it
// would be. NaN stays.
inline F64 exp(F64 x) {
  x = min(broadcast_f64(700), max(broadcast_f64(-700), x));
  const F64 shift = broadcast_f64(6755399441055744.0);
  const F64 shifted = add(mul(x, broadcast_f64(numerics::kPerLog2)), shift), n = sub(shifted, shift);
  const F64 r = sub(sub(x, mul(n, broadcast_f64(numerics::kLog2High))), mul(n, broadcast_f64(numerics::kLog2Low)));
  return mul(polynomial(numerics::kExp, r), power_of_two(shifted));
}

inline F64 sigmoid(F64 x) {
  const F64 one = broadcast_f64(1.0);
  return div(one, add(one, exp(sub(broadcast_f64(-0.0), x))));
}

inline F64 tanh(F64 x) {
  const F64 one = broadcast_f64(1.0), two = broadcast_f64(2.0), size = abs(x), square = mul(x, x);
  const F64 series = mul(x, sub(one, mul(square, sub(broadcast_f64(1.0 / 3), mul(square, broadcast_f64(2.0 / 15))))));
  const F64 value = sub(one, div(two, add(exp(mul(two, size)), one)));
  const F64 large = with_sign_of(select_greater(size, broadcast_f64(20), one, value), x);
  return select_greater(broadcast_f64(1e-3), size, series, large);
}

inline F64 erf(F64 x) {
  const F64 one = broadcast_f64(1.0), four = broadcast_f64(4.0), size = abs(x);
  const F64 small = mul(x, polynomial(numerics::kErfSmall, mul(x, x)));
  const F64 value = sub(one, polynomial(numerics::kErfcLarge, sub(min(four, size), broadcast_f64(2.5))));
  const F64 large = with_sign_of(select_greater(four, size, value, one), x);
  return select_greater(size, one, large, small);  // NaN: small, which is NaN
}

template <class Function>
inline F32 by_doubles(F32 x, const Function& function) {
  const Halves halves = to_doubles(x);
  return to_floats({function(halves.low), function(halves.high)});
}

}  // namespace
}  // namespace zeropoint::kernels
