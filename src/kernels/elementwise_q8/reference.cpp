// The definition of the elementwise family for 8-bit values.
#include <cfloat>
#include <limits>
#include <type_traits>

#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "numerics/quantize.h"

namespace zeropoint::kernels {
namespace {

using std::int16_t, std::int32_t, std::int64_t, std::int8_t, std::uint16_t, std::uint8_t;

template <class Q>
Q quantize_one(const QuantizeParams& params, float x) {
  return static_cast<Q>(numerics::quantize(x, params.scale, params.zero_point, {params.low, params.high}));
}

template <class Q>
void quantize(const QuantizeParams& params, const float* src, Q* dst, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) dst[i] = quantize_one<Q>(params, src[i]);
}

void quantize_planes_u8(const QuantizeParams& params, int channels, const float* src, int64_t plane_stride, uint8_t* dst,
                        int64_t dst_pixel_stride, int64_t pixels) noexcept {
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t c = 0; c < dst_pixel_stride; ++c)
      dst[p * dst_pixel_stride + c] =
          c < channels ? quantize_one<uint8_t>(params, src[c * plane_stride + p]) : static_cast<uint8_t>(params.zero_point);
}

// For |q - zero_point| above 2^24 (s32 only) the conversion to float rounds, half to even.
template <class Q>
float dequantize_one(const DequantizeParams& params, Q q) {
  return static_cast<float>(static_cast<int64_t>(q) - params.zero_point) * params.scale;
}

template <class Q>
void dequantize(const DequantizeParams& params, const Q* src, float* dst, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) dst[i] = dequantize_one(params, src[i]);
}

void lookup_u8(const uint8_t* table, const uint8_t* src, uint8_t* dst, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) dst[i] = table[src[i]];
}

struct Add {
  static float apply(float a, float b) { return a + b; }
};
struct Mul {
  static float apply(float a, float b) { return a * b; }
};

template <class Op>
void binary(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, uint8_t* dst, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i)
    dst[i] = quantize_one<uint8_t>(params.y, Op::apply(dequantize_one(params.a, a[i]), dequantize_one(params.b, b[i])));
}

template <class Op>
void binary_channel(const BinaryQ8& params, const uint8_t* a, const uint8_t* b, uint8_t* dst, int64_t rows,
                    int64_t channels) noexcept {
  for (int64_t r = 0; r < rows; ++r) binary<Op>(params, a + r * channels, b, dst + r * channels, channels);
}

float epilogue_one(const EpilogueS32& params, const int32_t* acc, int64_t r, int64_t c) {
  return static_cast<float>(acc[r * params.channels + c] + (params.comp == nullptr ? 0 : params.comp[c])) * params.scale[c];
}

void epilogue_f32(const EpilogueS32& params, const int32_t* acc, float* dst, int64_t rows) noexcept {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < params.channels; ++c) dst[r * params.channels + c] = epilogue_one(params, acc, r, c);
}

void epilogue_u8(const EpilogueS32& params, const QuantizeParams& y, const int32_t* acc, uint8_t* dst, int64_t rows) noexcept {
  const QuantizeParams unscaled{.scale = 1.0F, .zero_point = y.zero_point, .low = y.low, .high = y.high};
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < params.channels; ++c)
      dst[r * params.channels + c] = quantize_one<uint8_t>(unscaled, epilogue_one(params, acc, r, c));
}

void split_u16(uint16_t flip, const uint16_t* src, uint8_t* high, uint8_t* low, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    const auto q = static_cast<uint16_t>(src[i] ^ flip);
    high[i] = static_cast<uint8_t>(q >> 8);
    low[i] = static_cast<uint8_t>(q & 255);
  }
}

template <class T>
void join(const JoinS32& params, T* dst, int64_t rows) noexcept {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < params.channels; ++c) {
      const int64_t i = r * params.channels + c;
      int64_t sum = params.bias[c];
      for (int plane = 0; plane < params.planes; ++plane) sum += (int64_t{1} << params.shifts[plane]) * params.sums[plane][i];
      const float v = static_cast<float>(sum) * params.scale[c];
      const float t = v > params.low ? (v < params.high ? v : params.high) : params.low;
      if constexpr (std::is_same_v<T, float>)
        dst[i] = t;
      else
        dst[i] = static_cast<T>(static_cast<int32_t>(numerics::round_half_even(t)) + params.zero_point);
    }
}

void min_max_f32(const float* src, int64_t count, float* low, float* high) noexcept {
  for (int64_t i = 0; i < count; ++i) {
    if (src[i] < *low) *low = src[i];
    if (src[i] > *high) *high = src[i];
  }
}

float quantize_row_u8(const float* src, uint8_t* dst, int64_t count) noexcept {
  float low = 0, high = 0;
  min_max_f32(src, count, &low, &high);
  const float ratio = (high > -low ? high : -low) / 127.0F;
  QuantizeParams params;
  params.scale = ratio > FLT_MIN ? ratio : FLT_MIN;
  params.zero_point = 128;
  quantize(params, src, dst, count);
  return params.scale;
}

}  // namespace

const ElementwiseQ8Functions elementwise_q8_reference = {
    .quantize_u8 = quantize<uint8_t>,
    .quantize_s8 = quantize<int8_t>,
    .quantize_u16 = quantize<uint16_t>,
    .quantize_s16 = quantize<int16_t>,
    .quantize_planes_u8 = quantize_planes_u8,
    .dequantize_u8 = dequantize<uint8_t>,
    .dequantize_s8 = dequantize<int8_t>,
    .dequantize_u16 = dequantize<uint16_t>,
    .dequantize_s16 = dequantize<int16_t>,
    .dequantize_s32 = dequantize<int32_t>,
    .lookup_u8 = lookup_u8,
    .add_u8 = binary<Add>,
    .mul_u8 = binary<Mul>,
    .add_channel_u8 = binary_channel<Add>,
    .mul_channel_u8 = binary_channel<Mul>,
    .epilogue_f32 = epilogue_f32,
    .epilogue_u8 = epilogue_u8,
    .split_u16 = split_u16,
    .join_f32 = join<float>,
    .join_u8 = join<uint8_t>,
    .join_u16 = join<uint16_t>,
    .min_max_f32 = min_max_f32,
    .quantize_row_u8 = quantize_row_u8,
};

}  // namespace zeropoint::kernels
