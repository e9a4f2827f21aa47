// Sums of bytes in their short form (elementwise_q8_functions.h), in vectors: shared with convolutions that add to their
// result. x86 alone. Internal linkage: for ISA files only.
#pragma once

#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "kernels/vector.h"

namespace zeropoint::kernels {
namespace {

// Bytes to floats and back by unpacking and packing within 128-bit lanes, one the inverse of the other: no byte crosses a lane.
#if defined(__AVX512F__)
inline S32 unpack_low_8(S32 a, S32 b) { return _mm512_unpacklo_epi8(a, b); }
inline S32 unpack_high_8(S32 a, S32 b) { return _mm512_unpackhi_epi8(a, b); }
inline S32 unpack_low_16(S32 a, S32 b) { return _mm512_unpacklo_epi16(a, b); }
inline S32 unpack_high_16(S32 a, S32 b) { return _mm512_unpackhi_epi16(a, b); }
inline S32 pack_32(S32 a, S32 b) { return _mm512_packs_epi32(a, b); }
inline S32 pack_16(S32 a, S32 b) { return _mm512_packus_epi16(a, b); }
inline S32 add_16(S32 a, S32 b) { return _mm512_adds_epi16(a, b); }
inline S32 broadcast_16(int32_t x) { return _mm512_set1_epi16(static_cast<int16_t>(x)); }
inline U8 broadcast_8(int32_t x) { return _mm512_set1_epi8(static_cast<char>(x)); }
inline U8 min_u8(U8 a, U8 b) { return _mm512_min_epu8(a, b); }
inline F32 as_float(S32 a) { return _mm512_castsi512_ps(a); }
#else
inline S32 unpack_low_8(S32 a, S32 b) { return _mm256_unpacklo_epi8(a, b); }
inline S32 unpack_high_8(S32 a, S32 b) { return _mm256_unpackhi_epi8(a, b); }
inline S32 unpack_low_16(S32 a, S32 b) { return _mm256_unpacklo_epi16(a, b); }
inline S32 unpack_high_16(S32 a, S32 b) { return _mm256_unpackhi_epi16(a, b); }
inline S32 pack_32(S32 a, S32 b) { return _mm256_packs_epi32(a, b); }
inline S32 pack_16(S32 a, S32 b) { return _mm256_packus_epi16(a, b); }
inline S32 add_16(S32 a, S32 b) { return _mm256_adds_epi16(a, b); }
inline S32 broadcast_16(int32_t x) { return _mm256_set1_epi16(static_cast<int16_t>(x)); }
inline U8 broadcast_8(int32_t x) { return _mm256_set1_epi8(static_cast<char>(x)); }
inline U8 min_u8(U8 a, U8 b) { return _mm256_min_epu8(a, b); }
inline F32 as_float(S32 a) { return _mm256_castsi256_ps(a); }
#endif

struct Quad {  // kByteLanes values as floats, in the order of in-lane unpacking
  F32 a, b, c, d;
};

// The 16 bits 0x4B00 over a byte q make the float 2^23 + q.
inline Quad biased_floats(U8 q) {
  const S32 exponent = broadcast_16(0x4B00), low = unpack_low_8(q, zero_u8()), high = unpack_high_8(q, zero_u8());
  return {as_float(unpack_low_16(low, exponent)), as_float(unpack_high_16(low, exponent)),
          as_float(unpack_low_16(high, exponent)), as_float(unpack_high_16(high, exponent))};
}

struct LaneRounder {
  explicit LaneRounder(const QuantizeParams& params)
      : zero_point(broadcast_16(params.zero_point)), low(broadcast_8(params.low)), high(broadcast_8(params.high)) {}
  // Values below 2^31; the saturation of packing and adding does the clamping to [0, 255].
  U8 operator()(const Quad& x) const {
    const S32 first = add_16(pack_32(to_nearest(x.a), to_nearest(x.b)), zero_point);
    const S32 second = add_16(pack_32(to_nearest(x.c), to_nearest(x.d)), zero_point);
    return min_u8(max_u8(pack_16(first, second), low), high);
  }
  S32 zero_point;
  U8 low, high;
};

// The short form of a sum. Where the second zero point is 0, one operation less: 2^23 * factor is exact, so the product below
// rounds once, as q * factor does.
struct ShortSum {
  explicit ShortSum(const BinaryQ8& params)
      : a_offset(broadcast(8388608.0F + static_cast<float>(params.a.zero_point))),
        a_factor(broadcast(params.a_factor)),
        b_offset(broadcast(params.b.zero_point == 0 ? -8388608.0F * params.b_factor
                                                    : 8388608.0F + static_cast<float>(params.b.zero_point))),
        b_factor(broadcast(params.b_factor)) {}
  template <bool kZero>
  F32 one(F32 a, F32 b) const {
    const F32 product = kZero ? fma(b, b_factor, b_offset) : mul(sub(b, b_offset), b_factor);
    return fma(sub(a, a_offset), a_factor, product);
  }
  template <bool kZero>
  Quad sum(const Quad& a, const Quad& b) const {
    return {one<kZero>(a.a, b.a), one<kZero>(a.b, b.b), one<kZero>(a.c, b.c), one<kZero>(a.d, b.d)};
  }
  F32 a_offset, a_factor, b_offset, b_factor;
};

}  // namespace
}  // namespace zeropoint::kernels
