// Elementwise fp32 operators: what one instruction set offers. Safe to include in files of any ISA.
//
// One fp32 rounding an operation, no fma: the same bytes on every ISA. Functions take flat spans or rows: threads split the
// span. dst may be src or any operand of its shape.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {

enum class BinaryOp : std::uint8_t { add, sub, mul, div, min, max };  // min: a < b ? a : b; max: a > b ? a : b

// dst = clamp(a OP b): x < low ? low : (x > high ? high : x), so NaN stays NaN; infinite limits (the default) leave everything.
struct BinaryF32 {
  BinaryOp op = BinaryOp::add;
  float low = -__builtin_inff(), high = __builtin_inff();
};

// General broadcasting: dst is dense with `dims`; a and b have strides in elements, 0 along broadcast axes.
inline constexpr int kMaxBroadcastRank = 8;
struct BroadcastF32 {
  int rank = 0;
  std::int64_t dims[kMaxBroadcastRank] = {};
  std::int64_t a_strides[kMaxBroadcastRank] = {};
  std::int64_t b_strides[kMaxBroadcastRank] = {};
};

// What ONNX says, computed by numerics/elementary.h where a transcendental is involved.
enum class UnaryOp : std::uint8_t {
  abs,
  neg,
  sqrt,
  reciprocal,
  floor,
  ceil,
  round,  // half to even
  exp,
  log,
  tanh,
  erf,
  sigmoid,
  leaky_relu,    // x < 0 ? alpha * x : x
  hard_sigmoid,  // max(0, min(1, alpha * x + beta))
  hard_swish,    // x * max(0, min(1, alpha * x + beta)), alpha = 1/6, beta = 0.5
  gelu,          // (0.5 * x) * (1 + erf(x / alpha)), alpha = sqrt(2)
  gelu_tanh,     // (0.5 * x) * (1 + tanh(alpha * (x + beta * ((x * x) * x))))
  swish,         // x * sigmoid(alpha * x)
};
struct UnaryF32 {
  UnaryOp op = UnaryOp::abs;
  float alpha = 0, beta = 0;
};

struct ElementwiseF32Functions {
  void (*binary)(const BinaryF32& params, const float* a, const float* b, float* dst, std::int64_t count) noexcept;
  // a OP scalar, or scalar OP a if `swapped`.
  void (*binary_scalar)(const BinaryF32& params, const float* a, float scalar, bool swapped, float* dst,
                        std::int64_t count) noexcept;
  // b is [channels], used for each of `rows` dense rows of a and dst; `swapped`: b OP a.
  void (*binary_channel)(const BinaryF32& params, const float* a, const float* b, bool swapped, float* dst, std::int64_t rows,
                         std::int64_t channels) noexcept;
  // Elements begin..end-1 of the flat dst.
  void (*binary_broadcast)(const BinaryF32& params, const BroadcastF32& shape, const float* a, const float* b, float* dst,
                           std::int64_t begin, std::int64_t end) noexcept;
  // Relu, Clip: x < low ? low : (x > high ? high : x).
  void (*clamp)(float low, float high, const float* src, float* dst, std::int64_t count) noexcept;
  void (*unary)(const UnaryF32& params, const float* src, float* dst, std::int64_t count) noexcept;
};

// One a file; table.cpp lists them.
extern const ElementwiseF32Functions elementwise_f32_reference, elementwise_f32_avx2, elementwise_f32_avx512vnni,
    elementwise_f32_neon;

}  // namespace zeropoint::kernels
