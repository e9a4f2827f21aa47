// One vector register of the instruction set that the including file is compiled for, under the same names for AVX-512, AVX2
// and NEON, so that one source serves the three. Only for the ISA files of the kernel families: everything has internal
// linkage.
//
// Each operation is one correctly rounded IEEE operation a lane: the same bytes whatever the register's width.
// min(a, b) is a < b ? a : b and max(a, b) is a > b ? a : b, so b if either is NaN.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

namespace zeropoint::kernels {
namespace {

struct Whole {};  // a full vector
struct Part {     // its first `count` lanes; loads give 0 in the others
  int count;
};

#if defined(__AVX512F__)

constexpr int kLanes = 16, kByteLanes = 64;
using F32 = __m512;
using S32 = __m512i;
using U8 = __m512i;

inline __mmask16 lane_mask(Part part) { return static_cast<__mmask16>((1U << part.count) - 1); }
inline F32 load(const float* p, Whole) { return _mm512_loadu_ps(p); }
inline F32 load(const float* p, Part part) { return _mm512_maskz_loadu_ps(lane_mask(part), p); }
inline void store(float* p, F32 v, Whole) { _mm512_storeu_ps(p, v); }
inline void store(float* p, F32 v, Part part) { _mm512_mask_storeu_ps(p, lane_mask(part), v); }
inline F32 broadcast(float x) { return _mm512_set1_ps(x); }
inline F32 add(F32 a, F32 b) { return _mm512_add_ps(a, b); }
inline F32 sub(F32 a, F32 b) { return _mm512_sub_ps(a, b); }
inline F32 mul(F32 a, F32 b) { return _mm512_mul_ps(a, b); }
inline F32 div(F32 a, F32 b) { return _mm512_div_ps(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return _mm512_fmadd_ps(a, b, c); }
inline F32 fnma(F32 a, F32 b, F32 c) { return _mm512_fnmadd_ps(a, b, c); }  // c - a * b
inline F32 min(F32 a, F32 b) { return _mm512_min_ps(a, b); }
inline F32 max(F32 a, F32 b) { return _mm512_max_ps(a, b); }
inline F32 sqrt(F32 a) { return _mm512_sqrt_ps(a); }
inline F32 floor(F32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline F32 ceil(F32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
inline F32 round(F32 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F32 abs(F32 a) { return _mm512_abs_ps(a); }
inline F32 neg(F32 a) { return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a), _mm512_set1_epi32(INT32_MIN))); }
inline F32 select_negative(F32 x, F32 a, F32 b) {  // x < 0 ? a : b
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), b, a);
}

inline S32 broadcast_s32(int32_t x) { return _mm512_set1_epi32(x); }
inline void store_s32(int32_t* p, S32 v, Whole) { _mm512_storeu_si512(p, v); }
inline void store_s32(int32_t* p, S32 v, Part part) { _mm512_mask_storeu_epi32(p, lane_mask(part), v); }
inline S32 load_s32(const int32_t* p, Whole) { return _mm512_loadu_si512(p); }
inline S32 load_s32(const int32_t* p, Part part) { return _mm512_maskz_loadu_epi32(lane_mask(part), p); }
inline S32 widen(const uint8_t* p, Whole) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline S32 widen(const int8_t* p, Whole) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))); }
inline S32 widen(const uint16_t* p, Whole) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline S32 widen(const int16_t* p, Whole) {
  return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline S32 widen(const uint8_t* p, Part part) { return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lane_mask(part), p)); }
inline S32 widen(const int8_t* p, Part part) { return _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lane_mask(part), p)); }
inline S32 widen(const uint16_t* p, Part part) { return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lane_mask(part), p)); }
inline S32 widen(const int16_t* p, Part part) { return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(lane_mask(part), p)); }
// The lanes' low bits; the caller has clamped.
inline void narrow(uint8_t* p, S32 v, Whole) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v)); }
inline void narrow(uint16_t* p, S32 v, Whole) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v)); }
inline void narrow(uint8_t* p, S32 v, Part part) { _mm512_mask_cvtepi32_storeu_epi8(p, lane_mask(part), v); }
inline void narrow(uint16_t* p, S32 v, Part part) { _mm512_mask_cvtepi32_storeu_epi16(p, lane_mask(part), v); }
inline S32 add(S32 a, S32 b) { return _mm512_add_epi32(a, b); }
inline S32 sub(S32 a, S32 b) { return _mm512_sub_epi32(a, b); }
inline S32 min(S32 a, S32 b) { return _mm512_min_epi32(a, b); }
inline S32 max(S32 a, S32 b) { return _mm512_max_epi32(a, b); }
inline S32 bit_or(S32 a, S32 b) { return _mm512_or_si512(a, b); }
template <int kBits>
inline S32 shift_left(S32 a) {
  return _mm512_slli_epi32(a, kBits);
}
inline F32 to_float(S32 a) { return _mm512_cvtepi32_ps(a); }
inline S32 bits_of(F32 a) { return _mm512_castps_si512(a); }
inline S32 to_nearest(F32 a) { return _mm512_cvtps_epi32(a); }  // ties to even; INT32_MIN for NaN and what does not fit

inline __mmask64 byte_mask(Part part) { return ~uint64_t{0} >> (64 - part.count); }  // count >= 1
inline U8 load_u8(const uint8_t* p, Whole) { return _mm512_loadu_si512(p); }
inline U8 load_u8(const uint8_t* p, Part part) { return _mm512_maskz_loadu_epi8(byte_mask(part), p); }
inline void store_u8(uint8_t* p, U8 v, Whole) { _mm512_storeu_si512(p, v); }
inline void store_u8(uint8_t* p, U8 v, Part part) { _mm512_mask_storeu_epi8(p, byte_mask(part), v); }
inline U8 zero_u8() { return _mm512_setzero_si512(); }
inline U8 max_u8(U8 a, U8 b) { return _mm512_max_epu8(a, b); }

#elif defined(__AVX2__)

constexpr int kLanes = 8, kByteLanes = 32;
using F32 = __m256;
using S32 = __m256i;
using U8 = __m256i;

inline __m256i lane_mask(Part part) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(part.count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F32 load(const float* p, Whole) { return _mm256_loadu_ps(p); }
inline F32 load(const float* p, Part part) { return _mm256_maskload_ps(p, lane_mask(part)); }
inline void store(float* p, F32 v, Whole) { _mm256_storeu_ps(p, v); }
inline void store(float* p, F32 v, Part part) { _mm256_maskstore_ps(p, lane_mask(part), v); }
inline F32 broadcast(float x) { return _mm256_set1_ps(x); }
inline F32 add(F32 a, F32 b) { return _mm256_add_ps(a, b); }
inline F32 sub(F32 a, F32 b) { return _mm256_sub_ps(a, b); }
inline F32 mul(F32 a, F32 b) { return _mm256_mul_ps(a, b); }
inline F32 div(F32 a, F32 b) { return _mm256_div_ps(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return _mm256_fmadd_ps(a, b, c); }
inline F32 fnma(F32 a, F32 b, F32 c) { return _mm256_fnmadd_ps(a, b, c); }
inline F32 min(F32 a, F32 b) { return _mm256_min_ps(a, b); }
inline F32 max(F32 a, F32 b) { return _mm256_max_ps(a, b); }
inline F32 sqrt(F32 a) { return _mm256_sqrt_ps(a); }
inline F32 floor(F32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline F32 ceil(F32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
inline F32 round(F32 a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline F32 abs(F32 a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
inline F32 neg(F32 a) { return _mm256_xor_ps(_mm256_set1_ps(-0.0F), a); }
inline F32 select_negative(F32 x, F32 a, F32 b) {
  return _mm256_blendv_ps(b, a, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}

inline S32 broadcast_s32(int32_t x) { return _mm256_set1_epi32(x); }
inline void store_s32(int32_t* p, S32 v, Whole) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
inline void store_s32(int32_t* p, S32 v, Part part) { _mm256_maskstore_epi32(p, lane_mask(part), v); }
inline S32 load_s32(const int32_t* p, Whole) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline S32 load_s32(const int32_t* p, Part part) { return _mm256_maskload_epi32(p, lane_mask(part)); }
inline S32 widen(const uint8_t* p, Whole) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
inline S32 widen(const int8_t* p, Whole) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
inline S32 widen(const uint16_t* p, Whole) {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline S32 widen(const int16_t* p, Whole) {
  return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline void narrow(uint16_t* p, S32 v, Whole) {
  const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xFFFF));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
inline void narrow(uint8_t* p, S32 v, Whole) {
  const __m256i low = _mm256_shuffle_epi8(v, _mm256_set1_epi32(0x0C080400));  // 4 bytes in each lane of 16
  const __m128i packed = _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), packed);
}
inline S32 add(S32 a, S32 b) { return _mm256_add_epi32(a, b); }
inline S32 sub(S32 a, S32 b) { return _mm256_sub_epi32(a, b); }
inline S32 min(S32 a, S32 b) { return _mm256_min_epi32(a, b); }
inline S32 max(S32 a, S32 b) { return _mm256_max_epi32(a, b); }
inline S32 bit_or(S32 a, S32 b) { return _mm256_or_si256(a, b); }
template <int kBits>
inline S32 shift_left(S32 a) {
  return _mm256_slli_epi32(a, kBits);
}
inline F32 to_float(S32 a) { return _mm256_cvtepi32_ps(a); }
inline S32 bits_of(F32 a) { return _mm256_castps_si256(a); }
inline S32 to_nearest(F32 a) { return _mm256_cvtps_epi32(a); }

inline U8 load_u8(const uint8_t* p, Whole) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
inline void store_u8(uint8_t* p, U8 v, Whole) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
inline U8 zero_u8() { return _mm256_setzero_si256(); }
inline U8 max_u8(U8 a, U8 b) { return _mm256_max_epu8(a, b); }

#else  // NEON

constexpr int kLanes = 4, kByteLanes = 16;
using F32 = float32x4_t;
using S32 = int32x4_t;
using U8 = uint8x16_t;

inline F32 load(const float* p, Whole) { return vld1q_f32(p); }
inline F32 load(const float* p, Part part) {
  float lanes[kLanes] = {};
  memcpy(lanes, p, static_cast<size_t>(part.count) * sizeof(float));
  return vld1q_f32(lanes);
}
inline void store(float* p, F32 v, Whole) { vst1q_f32(p, v); }
inline void store(float* p, F32 v, Part part) {
  float lanes[kLanes];
  vst1q_f32(lanes, v);
  memcpy(p, lanes, static_cast<size_t>(part.count) * sizeof(float));
}
inline F32 broadcast(float x) { return vdupq_n_f32(x); }
inline F32 add(F32 a, F32 b) { return vaddq_f32(a, b); }
inline F32 sub(F32 a, F32 b) { return vsubq_f32(a, b); }
inline F32 mul(F32 a, F32 b) { return vmulq_f32(a, b); }
inline F32 div(F32 a, F32 b) { return vdivq_f32(a, b); }
inline F32 fma(F32 a, F32 b, F32 c) { return vfmaq_f32(c, a, b); }
inline F32 fnma(F32 a, F32 b, F32 c) { return vfmsq_f32(c, a, b); }
inline F32 min(F32 a, F32 b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline F32 max(F32 a, F32 b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline F32 sqrt(F32 a) { return vsqrtq_f32(a); }
inline F32 floor(F32 a) { return vrndmq_f32(a); }
inline F32 ceil(F32 a) { return vrndpq_f32(a); }
inline F32 round(F32 a) { return vrndnq_f32(a); }
inline F32 abs(F32 a) { return vabsq_f32(a); }
inline F32 neg(F32 a) { return vnegq_f32(a); }
inline F32 select_negative(F32 x, F32 a, F32 b) { return vbslq_f32(vcltzq_f32(x), a, b); }

inline S32 broadcast_s32(int32_t x) { return vdupq_n_s32(x); }
inline void store_s32(int32_t* p, S32 v, Whole) { vst1q_s32(p, v); }
inline void store_s32(int32_t* p, S32 v, Part part) {
  int32_t lanes[kLanes];
  vst1q_s32(lanes, v);
  memcpy(p, lanes, static_cast<size_t>(part.count) * sizeof(int32_t));
}
inline S32 load_s32(const int32_t* p, Whole) { return vld1q_s32(p); }
inline S32 load_s32(const int32_t* p, Part part) {
  int32_t lanes[kLanes] = {};
  memcpy(lanes, p, static_cast<size_t>(part.count) * sizeof(int32_t));
  return vld1q_s32(lanes);
}
inline S32 widen(const uint8_t* p, Whole) {
  uint32_t bytes;
  memcpy(&bytes, p, sizeof bytes);
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(bytes)))));
}
inline S32 widen(const int8_t* p, Whole) {
  uint32_t bytes;
  memcpy(&bytes, p, sizeof bytes);
  return vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(bytes))));
}
inline S32 widen(const uint16_t* p, Whole) { return vreinterpretq_s32_u32(vmovl_u16(vld1_u16(p))); }
inline S32 widen(const int16_t* p, Whole) { return vmovl_s16(vld1_s16(p)); }
inline void narrow(uint16_t* p, S32 v, Whole) { vst1_u16(p, vmovn_u32(vreinterpretq_u32_s32(v))); }
inline void narrow(uint8_t* p, S32 v, Whole) {
  const uint16x4_t words = vmovn_u32(vreinterpretq_u32_s32(v));
  const uint8x8_t bytes = vmovn_u16(vcombine_u16(words, words));
  const uint32_t four = vget_lane_u32(vreinterpret_u32_u8(bytes), 0);
  memcpy(p, &four, sizeof four);
}
inline S32 add(S32 a, S32 b) { return vaddq_s32(a, b); }
inline S32 sub(S32 a, S32 b) { return vsubq_s32(a, b); }
inline S32 min(S32 a, S32 b) { return vminq_s32(a, b); }
inline S32 max(S32 a, S32 b) { return vmaxq_s32(a, b); }
inline S32 bit_or(S32 a, S32 b) { return vorrq_s32(a, b); }
template <int kBits>
inline S32 shift_left(S32 a) {
  return vshlq_n_s32(a, kBits);
}
inline F32 to_float(S32 a) { return vcvtq_f32_s32(a); }
inline S32 bits_of(F32 a) { return vreinterpretq_s32_f32(a); }
inline S32 to_nearest(F32 a) {  // as x86 has it: INT32_MIN for NaN
  return vbslq_s32(vceqq_f32(a, a), vcvtnq_s32_f32(a), vdupq_n_s32(INT32_MIN));
}

inline U8 load_u8(const uint8_t* p, Whole) { return vld1q_u8(p); }
inline void store_u8(uint8_t* p, U8 v, Whole) { vst1q_u8(p, v); }
inline U8 zero_u8() { return vdupq_n_u8(0); }
inline U8 max_u8(U8 a, U8 b) { return vmaxq_u8(a, b); }

#endif

#if !defined(__AVX512F__)
// Parts of vectors of small elements go through memory.
template <class T>
inline S32 widen(const T* p, Part part) {
  T lanes[kLanes] = {};
  memcpy(lanes, p, static_cast<size_t>(part.count) * sizeof(T));
  return widen(lanes, Whole{});
}
template <class T>
inline void narrow(T* p, S32 v, Part part) {
  T lanes[kLanes];
  narrow(lanes, v, Whole{});
  memcpy(p, lanes, static_cast<size_t>(part.count) * sizeof(T));
}
inline U8 load_u8(const uint8_t* p, Part part) {
  uint8_t lanes[kByteLanes] = {};
  memcpy(lanes, p, static_cast<size_t>(part.count));
  return load_u8(lanes, Whole{});
}
inline void store_u8(uint8_t* p, U8 v, Part part) {
  uint8_t lanes[kByteLanes];
  store_u8(lanes, v, Whole{});
  memcpy(p, lanes, static_cast<size_t>(part.count));
}
#endif

// body(i, Whole{}) for each full vector of [begin, end), then body(i, Part{n}) for the rest.
template <int kStep = kLanes, class Body>
inline void for_each_vector(int64_t begin, int64_t end, const Body& body) {
  int64_t i = begin;
  for (; i + kStep <= end; i += kStep) body(i, Whole{});
  if (i < end) body(i, Part{static_cast<int>(end - i)});
}

}  // namespace
}  // namespace zeropoint::kernels
