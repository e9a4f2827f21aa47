// Elementwise work on 8-bit values: what one instruction set offers. Safe to include in files of any ISA.
//
// Arithmetic is DESIGN 3, rule (c): every operation rounded once in fp32, exactly as numerics/quantize.h; the same bytes on
// every ISA. Functions take flat spans: threads split the span (any split gives the same bytes). src and dst may be the same
// pointer where the element sizes are equal, else they must not overlap.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {

// q = clamp(round_half_even(x / scale) + zero_point, low, high); NaN gives low. Made by quantize_params(): `inverse` is
// RN(1/scale), used in place of the division only if `exact_inverse` (proved for this scale: see quantize_params). ReLU or Clip
// in front of the quantizer is nothing but narrower limits: the quantizer is monotone, so quantize(clip(x, a, b)) =
// clamp(quantize(x), quantize(a), quantize(b)).
struct QuantizeParams {
  float scale = 1;
  std::int32_t zero_point = 0;
  std::int32_t low = 0, high = 255;
  float inverse = 1;
  bool exact_inverse = false;
};

// real = float(q - zero_point) * scale
struct DequantizeParams {
  float scale = 1;
  std::int32_t zero_point = 0;
};

// y = quantize(real(a) OP real(b)): three roundings, then the quantizer's. A sum is computed in fewer operations, as
// round(fma(qa - za, a_factor, (qb - zb) * b_factor)), only if `short_sum`: made by add_params(), which has tried all pairs.
struct BinaryQ8 {
  DequantizeParams a, b;
  QuantizeParams y;
  bool short_sum = false;
  float a_factor = 0, b_factor = 0;
};

// The end of an integer product: rows x channels, dense. v = float(acc[r][c] + comp[c]) * scale[c].
struct EpilogueS32 {
  std::int64_t channels = 0;
  const std::int32_t* comp = nullptr;  // [channels]: bias and zero-point terms; null: zeros
  const float* scale = nullptr;        // [channels], see numerics::requantize_scale
};

// The end of products of planes of bytes, q = 256 * high + low (docs/arithmetic.md): rows x channels, dense.
// t = float(bias[c] + sum of 2^shift * sums[plane][r][c]) * scale[c], the sum exact in 64 bits; then within [low, high].
struct JoinS32 {
  static constexpr int kMaxPlanes = 4;
  int planes = 0;
  const std::int32_t* sums[kMaxPlanes] = {};
  int shifts[kMaxPlanes] = {};  // at most 16
  std::int64_t channels = 0;
  const std::int64_t* bias = nullptr;      // [channels]
  const double* bias_as_double = nullptr;  // the same; null unless all lie within 2^51, where sums are exact in 53 bits too
  const float* scale = nullptr;            // [channels]
  float low = 0, high = 0;                 // whole numbers less the zero point, where the result is one
  std::int32_t zero_point = 0;
};

struct ElementwiseQ8Functions {
  // f32 -> quantized.
  void (*quantize_u8)(const QuantizeParams& params, const float* src, std::uint8_t* dst, std::int64_t count) noexcept;
  void (*quantize_s8)(const QuantizeParams& params, const float* src, std::int8_t* dst, std::int64_t count) noexcept;
  void (*quantize_u16)(const QuantizeParams& params, const float* src, std::uint16_t* dst, std::int64_t count) noexcept;
  void (*quantize_s16)(const QuantizeParams& params, const float* src, std::int16_t* dst, std::int64_t count) noexcept;

  // A network's input: `pixels` pixels of 1..4 channel planes, src[c*plane_stride + p], to dst[p*dst_pixel_stride + c].
  // Bytes channels..dst_pixel_stride-1 of each pixel get the zero point; dst_pixel_stride is `channels` or 4.
  void (*quantize_planes_u8)(const QuantizeParams& params, int channels, const float* src, std::int64_t plane_stride,
                             std::uint8_t* dst, std::int64_t dst_pixel_stride, std::int64_t pixels) noexcept;

  // quantized -> f32.
  void (*dequantize_u8)(const DequantizeParams& params, const std::uint8_t* src, float* dst, std::int64_t count) noexcept;
  void (*dequantize_s8)(const DequantizeParams& params, const std::int8_t* src, float* dst, std::int64_t count) noexcept;
  void (*dequantize_u16)(const DequantizeParams& params, const std::uint16_t* src, float* dst, std::int64_t count) noexcept;
  void (*dequantize_s16)(const DequantizeParams& params, const std::int16_t* src, float* dst, std::int64_t count) noexcept;
  void (*dequantize_s32)(const DequantizeParams& params, const std::int32_t* src, float* dst, std::int64_t count) noexcept;

  // dst[i] = table[src[i]]. Every unary function between two quantized tensors (requantization, ReLU, sigmoid, hard swish, a
  // binary operation with a constant scalar, s8 <-> u8 by 0x80) is such a table. In place is fine.
  void (*lookup_u8)(const std::uint8_t table[256], const std::uint8_t* src, std::uint8_t* dst, std::int64_t count) noexcept;

  // Same shapes.
  void (*add_u8)(const BinaryQ8& params, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst,
                 std::int64_t count) noexcept;
  void (*mul_u8)(const BinaryQ8& params, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst,
                 std::int64_t count) noexcept;
  // b is [channels], used for each of `rows` rows of a and dst ([rows, channels], dense): NHWC times [N,1,1,C], one call an
  // image.
  void (*add_channel_u8)(const BinaryQ8& params, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst,
                         std::int64_t rows, std::int64_t channels) noexcept;
  void (*mul_channel_u8)(const BinaryQ8& params, const std::uint8_t* a, const std::uint8_t* b, std::uint8_t* dst,
                         std::int64_t rows, std::int64_t channels) noexcept;

  // s32 sums. The sum acc + comp must not overflow.
  void (*epilogue_f32)(const EpilogueS32& params, const std::int32_t* acc, float* dst, std::int64_t rows) noexcept;
  // dst = clamp(round_half_even(v) + zero_point, low, high) with zero_point, low and high of `y` (its scale is not used).
  void (*epilogue_u8)(const EpilogueS32& params, const QuantizeParams& y, const std::int32_t* acc, std::uint8_t* dst,
                      std::int64_t rows) noexcept;

  // The bytes of src[i] ^ flip; `flip` is 0, or 0x8000 for signed values.
  void (*split_u16)(std::uint16_t flip, const std::uint16_t* src, std::uint8_t* high, std::uint8_t* low,
                    std::int64_t count) noexcept;
  // t as it is, or round_half_even(t) + zero_point in the low bits of the type.
  void (*join_f32)(const JoinS32& params, float* dst, std::int64_t rows) noexcept;
  void (*join_u8)(const JoinS32& params, std::uint8_t* dst, std::int64_t rows) noexcept;
  void (*join_u16)(const JoinS32& params, std::uint16_t* dst, std::int64_t rows) noexcept;

  // Widens [*low, *high] by the values; NaN is ignored. Start from (+inf, -inf), or (0, 0) for a range that holds zero.
  void (*min_max_f32)(const float* src, std::int64_t count, float* low, float* high) noexcept;

  // A row by its own scale, which is returned: max(max |x| / 127, FLT_MIN), NaN left out;
  // dst = clamp(round_half_even(x / scale) + 128, 0, 255), as quantize_u8 has it.
  float (*quantize_row_u8)(const float* src, std::uint8_t* dst, std::int64_t count) noexcept;
};

// One a file; table.cpp lists them.
extern const ElementwiseQ8Functions elementwise_q8_reference, elementwise_q8_avx2, elementwise_q8_avx512vnni,
    elementwise_q8_neon;

}  // namespace zeropoint::kernels
