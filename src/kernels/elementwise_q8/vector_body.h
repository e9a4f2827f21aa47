// The elementwise family in vectors of any width: the body of each ISA file, which fills in what it does better. See vector.h.
#pragma once

#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "kernels/vector.h"
#include "kernels/vector_symmetric.h"
#if defined(__x86_64__)
#include "kernels/elementwise_q8/x86_short_sum.h"
#endif

namespace zeropoint::kernels {
namespace {

// numerics::quantize in a register, after the division: to the integer, saturated, zero point added.
struct Rounder {
  explicit Rounder(const QuantizeParams& params)
      : low(broadcast_s32(params.low - params.zero_point)),
        high(broadcast_s32(params.high - params.zero_point)),
        zero_point(broadcast_s32(params.zero_point)),
        float_high(broadcast(static_cast<float>(params.high - params.zero_point))) {}

  // NaN and everything below the range turn into INT32_MIN or are clamped; what lies above would wrap: clamped before.
  S32 operator()(F32 v) const { return add(max(to_nearest(min(float_high, v)), low), zero_point); }

  S32 low, high, zero_point;
  F32 float_high;
};

// x / scale, rounded as the division rounds it. Two forms, chosen outside of the loops.
struct Divide {
  explicit Divide(const QuantizeParams& params) : scale(broadcast(params.scale)) {}
  F32 operator()(F32 x) const { return div(x, scale); }
  F32 scale;
};
struct MultiplyCorrected {  // Markstein; see quantize_params
  explicit MultiplyCorrected(const QuantizeParams& params)
      : scale(broadcast(params.scale)),
        inverse(broadcast(params.inverse)),
        most(broadcast(static_cast<float>(params.high - params.zero_point + 1) * params.scale)) {}
  F32 operator()(F32 x) const {
    x = min(most, x);  // an infinite product would turn into NaN; NaN stays
    const F32 t = mul(x, inverse);
    return fma(fnma(t, scale, x), inverse, t);
  }
  F32 scale, inverse, most;
};

template <class Loop>
inline void with_quotient(const QuantizeParams& params, const Loop& loop) {
  if (params.exact_inverse)
    loop(MultiplyCorrected(params));
  else
    loop(Divide(params));
}

struct Dequantizer {
  explicit Dequantizer(const DequantizeParams& params)
      : zero_point(broadcast_s32(params.zero_point)), scale(broadcast(params.scale)) {}
  F32 operator()(S32 q) const { return mul(to_float(sub(q, zero_point)), scale); }
  S32 zero_point;
  F32 scale;
};

inline uint8_t* unsigned_bytes(uint8_t* p) { return p; }
inline uint8_t* unsigned_bytes(int8_t* p) { return reinterpret_cast<uint8_t*>(p); }
inline uint16_t* unsigned_bytes(uint16_t* p) { return p; }
inline uint16_t* unsigned_bytes(int16_t* p) { return reinterpret_cast<uint16_t*>(p); }

template <class Q>
void quantize(const QuantizeParams& params, const float* src, Q* dst, int64_t count) noexcept {
  const Rounder rounder(params);
  with_quotient(params, [&](auto quotient) {
    for_each_vector(
        0, count, [&](int64_t i, auto part) { narrow(unsigned_bytes(dst + i), rounder(quotient(load(src + i, part))), part); });
  });
}

// The lowest three bytes of each lane, one after another: 3 * kLanes bytes.
inline void narrow_to_three(uint8_t* p, S32 v, Whole) {
#if defined(__AVX512F__)
  alignas(64) static constexpr uint8_t kOrder[64] = {0,  1,  2,  4,  5,  6,  8,  9,  10, 12, 13, 14, 16, 17, 18, 20,
                                                     21, 22, 24, 25, 26, 28, 29, 30, 32, 33, 34, 36, 37, 38, 40, 41,
                                                     42, 44, 45, 46, 48, 49, 50, 52, 53, 54, 56, 57, 58, 60, 61, 62};
  _mm512_mask_storeu_epi8(p, (uint64_t{1} << 48) - 1, _mm512_permutexvar_epi8(_mm512_load_si512(kOrder), v));
#elif defined(__AVX2__)
  const __m256i order = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
  const __m256i packed = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(v, order), _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 7, 7));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p + 16), _mm256_extracti128_si256(packed, 1));
#else
  const uint8x16_t order = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 255, 255, 255, 255};
  uint8_t bytes[16];
  vst1q_u8(bytes, vqtbl1q_u8(vreinterpretq_u8_s32(v), order));
  memcpy(p, bytes, 12);
#endif
}
inline void narrow_to_three(uint8_t* p, S32 v, Part part) {
  int32_t lanes[kLanes];
  store_s32(lanes, v, Whole{});
  for (int i = 0; i < part.count; ++i) memcpy(p + 3 * i, lanes + i, 3);
}

template <int kChannels, class Quotient>
void quantize_planes(const QuantizeParams& params, const Quotient& quotient, const float* src, int64_t plane_stride,
                     uint8_t* dst, int64_t dst_pixel_stride, int64_t pixels) {
  const Rounder rounder(params);
  const S32 filler = broadcast_s32(params.zero_point << 24);
  constexpr int64_t kAhead = 512;  // the hardware, too, looks ahead, but hardly past a page
  for_each_vector(0, pixels, [&](int64_t p, auto part) {
    const auto plane = [&](int c) {
      const float* at = src + c * plane_stride + p;
      __builtin_prefetch(at + kAhead);
      return rounder(quotient(load(at, part)));
    };
    S32 pixel = plane(0);  // a lane is a pixel, a byte of it a channel
    if constexpr (kChannels > 1) pixel = bit_or(pixel, shift_left<8>(plane(1)));
    if constexpr (kChannels > 2) pixel = bit_or(pixel, shift_left<16>(plane(2)));
    if constexpr (kChannels > 3) pixel = bit_or(pixel, shift_left<24>(plane(3)));
    if (dst_pixel_stride == 4) {
      if constexpr (kChannels == 3) pixel = bit_or(pixel, filler);
      int32_t* at = reinterpret_cast<int32_t*>(dst + 4 * p);
      store_s32(at, pixel, part);
    } else if constexpr (kChannels == 3) {
      narrow_to_three(dst + 3 * p, pixel, part);
    } else if constexpr (kChannels == 2) {
      narrow(reinterpret_cast<uint16_t*>(dst + 2 * p), pixel, part);
    }
  });
}

void quantize_planes_u8(const QuantizeParams& params, int channels, const float* src, int64_t plane_stride, uint8_t* dst,
                        int64_t dst_pixel_stride, int64_t pixels) noexcept {
  if (channels == 1 && dst_pixel_stride == 1) return quantize(params, src, dst, pixels);
  const bool packed = dst_pixel_stride == channels;
  with_quotient(params, [&](const auto& quotient) {
    if (channels == 4)
      quantize_planes<4>(params, quotient, src, plane_stride, dst, dst_pixel_stride, pixels);
    else if (channels == 3)
      quantize_planes<3>(params, quotient, src, plane_stride, dst, dst_pixel_stride, pixels);
    else if (channels == 2 && packed)
      quantize_planes<2>(params, quotient, src, plane_stride, dst, dst_pixel_stride, pixels);
    else  // one or two channels in four bytes: not worth a form of its own
      elementwise_q8_reference.quantize_planes_u8(params, channels, src, plane_stride, dst, dst_pixel_stride, pixels);
  });
}

template <class Q>
void dequantize(const DequantizeParams& params, const Q* src, float* dst, int64_t count) noexcept {
  const Dequantizer real(params);
  for_each_vector(0, count, [&](int64_t i, auto part) { store(dst + i, real(widen(src + i, part)), part); });
}

void dequantize_s32(const DequantizeParams& params, const int32_t* src, float* dst, int64_t count) noexcept {
  if (params.zero_point != 0) return elementwise_q8_reference.dequantize_s32(params, src, dst, count);  // may pass 32 bits
  const F32 scale = broadcast(params.scale);
  for_each_vector(0, count, [&](int64_t i, auto part) { store(dst + i, mul(to_float(load_s32(src + i, part)), scale), part); });
}

struct Add {
  static F32 apply(F32 a, F32 b) { return add(a, b); }
};
struct Mul {
  static F32 apply(F32 a, F32 b) { return mul(a, b); }
};

#if defined(__x86_64__)

struct LaneDequantizer {
  // Taking away 2^23 + zero_point leaves q - zero_point, exactly.
  explicit LaneDequantizer(const DequantizeParams& params)
      : offset(broadcast(8388608.0F + static_cast<float>(params.zero_point))), scale(broadcast(params.scale)) {}
  Quad operator()(U8 q) const {
    const Quad biased = biased_floats(q);
    return {real(biased.a), real(biased.b), real(biased.c), real(biased.d)};
  }
  F32 real(F32 biased) const { return mul(sub(biased, offset), scale); }
  F32 offset, scale;
};

template <bool kZero>
inline void short_sums(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, uint8_t* dst, int64_t count) {
  const ShortSum form(params);
  const LaneRounder rounder(params.y);
  for_each_vector<kByteLanes>(0, count, [&](int64_t i, auto part) {
    store_u8(dst + i, rounder(form.sum<kZero>(biased_floats(load_u8(a + i, part)), biased_floats(load_u8(b + i, part)))), part);
  });
}

// b goes on by b_stride from row to row: channels, or 0 for one row used again and again.
template <class Op>
inline void binary_rows(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, int64_t b_stride, uint8_t* dst,
                        int64_t rows, int64_t channels) {
  const LaneDequantizer real_a(params.a), real_b(params.b);
  const LaneRounder rounder(params.y);
  const F32 most = broadcast(static_cast<float>(params.y.high - params.y.zero_point));
  const auto loop = [&](auto quotient) {
    for (int64_t r = 0; r < rows; ++r)
      for_each_vector<kByteLanes>(0, channels, [&](int64_t i, auto part) {
        const Quad x = real_a(load_u8(a + r * channels + i, part)), z = real_b(load_u8(b + r * b_stride + i, part));
        const Quad y = {quotient(Op::apply(x.a, z.a)), quotient(Op::apply(x.b, z.b)), quotient(Op::apply(x.c, z.c)),
                        quotient(Op::apply(x.d, z.d))};
        store_u8(dst + r * channels + i, rounder(y), part);
      });
  };
  if (params.y.exact_inverse)
    loop(MultiplyCorrected(params.y));
  else
    loop([quotient = Divide(params.y), most](F32 x) { return min(most, quotient(x)); });
}

#else

template <class Op>
inline void binary_rows(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, int64_t b_stride, uint8_t* dst,
                        int64_t rows, int64_t channels) {
  const Dequantizer real_a(params.a), real_b(params.b);
  const Rounder rounder(params.y);
  with_quotient(params.y, [&](auto quotient) {
    for (int64_t r = 0; r < rows; ++r)
      for_each_vector(0, channels, [&](int64_t i, auto part) {
        const F32 x = real_a(widen(a + r * channels + i, part)), z = real_b(widen(b + r * b_stride + i, part));
        narrow(dst + r * channels + i, rounder(quotient(Op::apply(x, z))), part);
      });
  });
}

#endif

#if defined(__x86_64__)
void add_u8(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, uint8_t* dst, int64_t count) noexcept {
  if (!params.short_sum) return binary_rows<Add>(params, a, b, 0, dst, 1, count);
  if (params.b.zero_point == 0) return short_sums<true>(params, a, b, dst, count);
  short_sums<false>(params, a, b, dst, count);
}
#else
void add_u8(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, uint8_t* dst, int64_t count) noexcept {
  binary_rows<Add>(params, a, b, 0, dst, 1, count);
}
#endif

template <class Op>
void binary(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, uint8_t* dst, int64_t count) noexcept {
  binary_rows<Op>(params, a, b, 0, dst, 1, count);
}

template <class Op>
void binary_channel(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, uint8_t* dst, int64_t rows,
                    int64_t channels) noexcept {
  binary_rows<Op>(params, a, b, 0, dst, rows, channels);
}

template <class Store>
inline void epilogue(const EpilogueS32& params, const int32_t* acc, int64_t rows, const Store& put) {
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t* row = acc + r * params.channels;
    for_each_vector(0, params.channels, [&](int64_t c, auto part) {
      S32 sum = load_s32(row + c, part);
      if (params.comp != nullptr) sum = add(sum, load_s32(params.comp + c, part));
      put(r * params.channels + c, mul(to_float(sum), load(params.scale + c, part)), part);
    });
  }
}

void epilogue_f32(const EpilogueS32& params, const int32_t* acc, float* dst, int64_t rows) noexcept {
  epilogue(params, acc, rows, [&](int64_t i, F32 v, auto part) { store(dst + i, v, part); });
}

void epilogue_u8(const EpilogueS32& params, const QuantizeParams& y, const int32_t* acc, uint8_t* dst, int64_t rows) noexcept {
  const Rounder rounder(y);
  epilogue(params, acc, rows, [&](int64_t i, F32 v, auto part) { narrow(dst + i, rounder(v), part); });
}

// kByteLanes words, `flip` xored to them: their high bytes, their low bytes.
#if defined(__AVX512F__)
inline void split_vector(uint16_t flip, const uint16_t* src, uint8_t* high, uint8_t* low) {
  const __m512i mask = _mm512_set1_epi16(static_cast<int16_t>(flip));
  for (int half = 0; half < 2; ++half) {
    const __m512i q = _mm512_xor_si512(_mm512_loadu_si512(src + 32 * half), mask);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(high + 32 * half), _mm512_cvtepi16_epi8(_mm512_srli_epi16(q, 8)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(low + 32 * half), _mm512_cvtepi16_epi8(q));
  }
}
#elif defined(__AVX2__)
inline void split_vector(uint16_t flip, const uint16_t* src, uint8_t* high, uint8_t* low) {
  const __m256i mask = _mm256_set1_epi16(static_cast<int16_t>(flip)), bytes = _mm256_set1_epi16(255);
  const __m256i a = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src)), mask);
  const __m256i b = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + 16)), mask);
  const auto pack = [](__m256i x, __m256i y) { return _mm256_permute4x64_epi64(_mm256_packus_epi16(x, y), 0xD8); };
  store_u8(high, pack(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8)), Whole{});
  store_u8(low, pack(_mm256_and_si256(a, bytes), _mm256_and_si256(b, bytes)), Whole{});
}
#else
inline void split_vector(uint16_t flip, const uint16_t* src, uint8_t* high, uint8_t* low) {
  const uint16x8_t mask = vdupq_n_u16(flip), a = veorq_u16(vld1q_u16(src), mask), b = veorq_u16(vld1q_u16(src + 8), mask);
  vst1q_u8(high, vcombine_u8(vshrn_n_u16(a, 8), vshrn_n_u16(b, 8)));
  vst1q_u8(low, vcombine_u8(vmovn_u16(a), vmovn_u16(b)));
}
#endif

void split_u16(uint16_t flip, const uint16_t* src, uint8_t* high, uint8_t* low, int64_t count) noexcept {
  int64_t i = 0;
  for (; i + kByteLanes <= count; i += kByteLanes) split_vector(flip, src + i, high + i, low + i);
  elementwise_q8_reference.split_u16(flip, src + i, high + i, low + i, count - i);
}

// kLanes doubles. The products and sums here are whole numbers below 2^53: exact.
#if defined(__AVX512F__)
struct F64 {
  __m512d low, high;
};
inline F64 to_double(S32 a) {
  return {_mm512_cvtepi32_pd(_mm512_castsi512_si256(a)), _mm512_cvtepi32_pd(_mm512_extracti64x4_epi64(a, 1))};
}
inline F64 load(const double* p, Whole) { return {_mm512_loadu_pd(p), _mm512_loadu_pd(p + 8)}; }
inline F64 load(const double* p, Part part) {
  const __mmask16 mask = lane_mask(part);
  return {_mm512_maskz_loadu_pd(static_cast<__mmask8>(mask), p),
          _mm512_maskz_loadu_pd(static_cast<__mmask8>(mask >> 8), p + 8)};
}
inline F64 fma(F64 a, double b, F64 c) {
  return {_mm512_fmadd_pd(a.low, _mm512_set1_pd(b), c.low), _mm512_fmadd_pd(a.high, _mm512_set1_pd(b), c.high)};
}
inline F32 to_float(F64 a) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(a.low)), _mm512_cvtpd_ps(a.high), 1);
}
#elif defined(__AVX2__)
struct F64 {
  __m256d low, high;
};
inline F64 to_double(S32 a) {
  return {_mm256_cvtepi32_pd(_mm256_castsi256_si128(a)), _mm256_cvtepi32_pd(_mm256_extracti128_si256(a, 1))};
}
inline F64 load(const double* p, Whole) { return {_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)}; }
inline F64 fma(F64 a, double b, F64 c) {
  return {_mm256_fmadd_pd(a.low, _mm256_set1_pd(b), c.low), _mm256_fmadd_pd(a.high, _mm256_set1_pd(b), c.high)};
}
inline F32 to_float(F64 a) { return _mm256_set_m128(_mm256_cvtpd_ps(a.high), _mm256_cvtpd_ps(a.low)); }
#else
struct F64 {
  float64x2_t low, high;
};
inline F64 to_double(S32 a) { return {vcvtq_f64_s64(vmovl_s32(vget_low_s32(a))), vcvtq_f64_s64(vmovl_s32(vget_high_s32(a)))}; }
inline F64 load(const double* p, Whole) { return {vld1q_f64(p), vld1q_f64(p + 2)}; }
inline F64 fma(F64 a, double b, F64 c) { return {vfmaq_n_f64(c.low, a.low, b), vfmaq_n_f64(c.high, a.high, b)}; }
inline F32 to_float(F64 a) { return vcombine_f32(vcvt_f32_f64(a.low), vcvt_f32_f64(a.high)); }
#endif
#if !defined(__AVX512F__)
inline F64 load(const double* p, Part part) {
  double lanes[kLanes] = {};
  memcpy(lanes, p, static_cast<size_t>(part.count) * sizeof(double));
  return load(lanes, Whole{});
}
#endif

inline void reference_join(const JoinS32& params, float* dst, int64_t rows) {
  elementwise_q8_reference.join_f32(params, dst, rows);
}
inline void reference_join(const JoinS32& params, uint8_t* dst, int64_t rows) {
  elementwise_q8_reference.join_u8(params, dst, rows);
}
inline void reference_join(const JoinS32& params, uint16_t* dst, int64_t rows) {
  elementwise_q8_reference.join_u16(params, dst, rows);
}
template <class T, class Portion>
inline void put_joined(T* p, F32 t, S32 zero_point, Portion part) {
  narrow(p, add(to_nearest(t), zero_point), part);
}
template <class Portion>
inline void put_joined(float* p, F32 t, S32, Portion part) {
  store(p, t, part);
}

template <class T>
void join(const JoinS32& params, T* dst, int64_t rows) noexcept {
  if (params.bias_as_double == nullptr) return reference_join(params, dst, rows);
  double weight[JoinS32::kMaxPlanes];
  for (int plane = 0; plane < params.planes; ++plane) weight[plane] = static_cast<double>(int64_t{1} << params.shifts[plane]);
  const F32 low = broadcast(params.low), high = broadcast(params.high);
  const S32 zero_point = broadcast_s32(params.zero_point);
  for (int64_t r = 0; r < rows; ++r)
    for_each_vector(0, params.channels, [&](int64_t c, auto part) {
      const int64_t i = r * params.channels + c;
      F64 sum = load(params.bias_as_double + c, part);
      for (int plane = 0; plane < params.planes; ++plane)
        sum = fma(to_double(load_s32(params.sums[plane] + i, part)), weight[plane], sum);
      put_joined(dst + i, min(max(mul(to_float(sum), load(params.scale + c, part)), low), high), zero_point, part);
    });
}

void min_max_f32(const float* src, int64_t count, float* low, float* high) noexcept {
  constexpr int kChains = 4;  // vectors in flight: min and max have a latency of several cycles
  F32 lows[kChains], highs[kChains];
  for (int k = 0; k < kChains; ++k) {
    lows[k] = broadcast(*low);
    highs[k] = broadcast(*high);
  }
  int64_t i = 0;
  for (; i + kChains * kLanes <= count; i += kChains * kLanes)
    for (int k = 0; k < kChains; ++k) {
      const F32 x = load(src + i + k * kLanes, Whole{});  // first operand: passed over when NaN
      lows[k] = min(x, lows[k]);
      highs[k] = max(x, highs[k]);
    }
  float lanes[2][kChains * kLanes];
  for (int k = 0; k < kChains; ++k) {
    store(lanes[0] + k * kLanes, lows[k], Whole{});
    store(lanes[1] + k * kLanes, highs[k], Whole{});
  }
  for (int lane = 0; lane < kChains * kLanes; ++lane) {
    if (lanes[0][lane] < *low) *low = lanes[0][lane];
    if (lanes[1][lane] > *high) *high = lanes[1][lane];
  }
  elementwise_q8_reference.min_max_f32(src + i, count - i, low, high);
}

float quantize_row_u8(const float* src, uint8_t* dst, int64_t count) noexcept {
  const float scale = symmetric_scale(largest_size(src, count));
  quantize_symmetric(src, count, scale, 128, dst);
  return scale;
}

}  // namespace
}  // namespace zeropoint::kernels
