// The definition of the elementwise family for f32 values.
#include <cmath>
#include <cstdint>

#include "kernels/elementwise_f32/elementwise_f32_functions.h"
#include "numerics/elementary.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t;

float apply(BinaryOp op, float a, float b) {
  switch (op) {
    case BinaryOp::add:
      return a + b;
    case BinaryOp::sub:
      return a - b;
    case BinaryOp::mul:
      return a * b;
    case BinaryOp::div:
      return a / b;
    case BinaryOp::min:
      return a < b ? a : b;
    case BinaryOp::max:
      return a > b ? a : b;
  }
  return 0;
}

float limit(float x, float low, float high) { return x < low ? low : (x > high ? high : x); }

float apply(const BinaryF32& params, float a, float b) { return limit(apply(params.op, a, b), params.low, params.high); }

void binary(const BinaryF32& params, const float* a, const float* b, float* dst, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) dst[i] = apply(params, a[i], b[i]);
}

void binary_scalar(const BinaryF32& params, const float* a, float scalar, bool swapped, float* dst, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) dst[i] = swapped ? apply(params, scalar, a[i]) : apply(params, a[i], scalar);
}

void binary_channel(const BinaryF32& params, const float* a, const float* b, bool swapped, float* dst, int64_t rows,
                    int64_t channels) noexcept {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t i = r * channels + c;
      dst[i] = swapped ? apply(params, b[c], a[i]) : apply(params, a[i], b[c]);
    }
}

void binary_broadcast(const BinaryF32& params, const BroadcastF32& shape, const float* a, const float* b, float* dst,
                      int64_t begin, int64_t end) noexcept {
  for (int64_t flat = begin; flat < end; ++flat) {
    int64_t rest = flat, from_a = 0, from_b = 0;
    for (int axis = shape.rank - 1; axis >= 0; --axis) {
      const int64_t i = rest % shape.dims[axis];
      rest /= shape.dims[axis];
      from_a += i * shape.a_strides[axis];
      from_b += i * shape.b_strides[axis];
    }
    dst[flat] = apply(params, a[from_a], b[from_b]);
  }
}

void clamp(float low, float high, const float* src, float* dst, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) dst[i] = limit(src[i], low, high);
}

float hard_sigmoid(float x, float alpha, float beta) {
  const float v = alpha * x + beta;
  return limit(v, 0.0F, 1.0F);
}

float apply(const UnaryF32& params, float x) {
  switch (params.op) {
    case UnaryOp::abs:
      return std::fabs(x);
    case UnaryOp::neg:
      return -x;
    case UnaryOp::sqrt:
      return std::sqrt(x);
    case UnaryOp::reciprocal:
      return 1.0F / x;
    case UnaryOp::floor:
      return std::floor(x);
    case UnaryOp::ceil:
      return std::ceil(x);
    case UnaryOp::round:
      return std::nearbyint(x);
    case UnaryOp::exp:
      return numerics::exp(x);
    case UnaryOp::log:
      return numerics::log(x);
    case UnaryOp::tanh:
      return numerics::tanh(x);
    case UnaryOp::erf:
      return numerics::erf(x);
    case UnaryOp::sigmoid:
      return numerics::sigmoid(x);
    case UnaryOp::leaky_relu:
      return x < 0 ? params.alpha * x : x;
    case UnaryOp::hard_sigmoid:
      return hard_sigmoid(x, params.alpha, params.beta);
    case UnaryOp::hard_swish:
      return x * hard_sigmoid(x, params.alpha, params.beta);
    case UnaryOp::gelu:
      return (0.5F * x) * (1.0F + numerics::erf(x / params.alpha));
    case UnaryOp::gelu_tanh:
      return (0.5F * x) * (1.0F + numerics::tanh(params.alpha * (x + params.beta * ((x * x) * x))));
    case UnaryOp::swish:
      return x * numerics::sigmoid(params.alpha * x);
  }
  return x;
}

void unary(const UnaryF32& params, const float* src, float* dst, int64_t count) noexcept {
  for (int64_t i = 0; i < count; ++i) dst[i] = apply(params, src[i]);
}

}  // namespace

const ElementwiseF32Functions elementwise_f32_reference = {.binary = binary,
                                                           .binary_scalar = binary_scalar,
                                                           .binary_channel = binary_channel,
                                                           .binary_broadcast = binary_broadcast,
                                                           .clamp = clamp,
                                                           .unary = unary};

}  // namespace zeropoint::kernels
