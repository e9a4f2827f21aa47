// The elementwise family in vectors of any width: the body of each ISA file. See vector.h.
#pragma once

#include "kernels/elementwise_f32/elementwise_f32_functions.h"
#include "kernels/vector.h"
#include "kernels/vector_elementary.h"

namespace zeropoint::kernels {
namespace {

struct Clamp {  // NaN stays: the second operand of min and max
  Clamp(float low, float high) : low_(broadcast(low)), high_(broadcast(high)) {}
  F32 operator()(F32 x) const { return min(high_, max(low_, x)); }
  F32 low_, high_;
};
struct NoClamp {
  F32 operator()(F32 x) const { return x; }
};

// Calls loop(f), f(a, b) = clamp(a OP b) in registers: the choice is made outside of the loops.
template <class Loop>
inline void with_operation(const BinaryF32& params, const Loop& loop) {
  const auto clamped = [&](auto op) {
    if (params.low == -__builtin_inff() && params.high == __builtin_inff())
      loop(op);
    else
      loop([op, clamp = Clamp(params.low, params.high)](F32 a, F32 b) { return clamp(op(a, b)); });
  };
  switch (params.op) {
    case BinaryOp::add:
      return clamped([](F32 a, F32 b) { return add(a, b); });
    case BinaryOp::sub:
      return clamped([](F32 a, F32 b) { return sub(a, b); });
    case BinaryOp::mul:
      return clamped([](F32 a, F32 b) { return mul(a, b); });
    case BinaryOp::div:
      return clamped([](F32 a, F32 b) { return div(a, b); });
    case BinaryOp::min:
      return clamped([](F32 a, F32 b) { return min(a, b); });
    case BinaryOp::max:
      return clamped([](F32 a, F32 b) { return max(a, b); });
  }
}

void binary(const BinaryF32& params, const float* a, const float* b, float* dst, int64_t count) noexcept {
  with_operation(params, [&](auto op) {
    for_each_vector(0, count, [&](int64_t i, auto part) { store(dst + i, op(load(a + i, part), load(b + i, part)), part); });
  });
}

void binary_scalar(const BinaryF32& params, const float* a, float scalar, bool swapped, float* dst, int64_t count) noexcept {
  const F32 b = broadcast(scalar);
  with_operation(params, [&](auto op) {
    if (swapped)
      for_each_vector(0, count, [&](int64_t i, auto part) { store(dst + i, op(b, load(a + i, part)), part); });
    else
      for_each_vector(0, count, [&](int64_t i, auto part) { store(dst + i, op(load(a + i, part), b), part); });
  });
}

void binary_channel(const BinaryF32& params, const float* a, const float* b, bool swapped, float* dst, int64_t rows,
                    int64_t channels) noexcept {
  with_operation(params, [&](auto op) {
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = a + r * channels;
      float* out = dst + r * channels;
      if (swapped)
        for_each_vector(0, channels,
                        [&](int64_t c, auto part) { store(out + c, op(load(b + c, part), load(row + c, part)), part); });
      else
        for_each_vector(0, channels,
                        [&](int64_t c, auto part) { store(out + c, op(load(row + c, part), load(b + c, part)), part); });
    }
  });
}

// Runs along the innermost axis go through the functions above; other strides through the reference.
void binary_broadcast(const BinaryF32& params, const BroadcastF32& shape, const float* a, const float* b, float* dst,
                      int64_t begin, int64_t end) noexcept {
  const int inner = shape.rank - 1;
  const int64_t a_step = inner < 0 ? 0 : shape.a_strides[inner], b_step = inner < 0 ? 0 : shape.b_strides[inner];
  if (inner < 0 || (a_step != 0 && a_step != 1) || (b_step != 0 && b_step != 1))
    return elementwise_f32_reference.binary_broadcast(params, shape, a, b, dst, begin, end);
  const int64_t length = shape.dims[inner];
  for (int64_t flat = begin; flat < end;) {
    const int64_t offset = flat % length, run = length - offset < end - flat ? length - offset : end - flat;
    int64_t rest = flat / length;
    const float *row_a = a + offset * a_step, *row_b = b + offset * b_step;
    for (int axis = inner - 1; axis >= 0; --axis) {
      row_a += rest % shape.dims[axis] * shape.a_strides[axis];
      row_b += rest % shape.dims[axis] * shape.b_strides[axis];
      rest /= shape.dims[axis];
    }
    if (a_step == 0 && b_step == 0)  // both repeated
      for (int64_t i = 0; i < run; ++i) binary_scalar(params, row_a, *row_b, false, dst + flat + i, 1);
    else if (b_step == 0)
      binary_scalar(params, row_a, *row_b, false, dst + flat, run);
    else if (a_step == 0)
      binary_scalar(params, row_b, *row_a, true, dst + flat, run);
    else
      binary(params, row_a, row_b, dst + flat, run);
    flat += run;
  }
}

template <class Op>
inline void map(const float* src, float* dst, int64_t count, const Op& op) {
  for_each_vector(0, count, [&](int64_t i, auto part) { store(dst + i, op(load(src + i, part)), part); });
}

void clamp(float low, float high, const float* src, float* dst, int64_t count) noexcept {
  map(src, dst, count, Clamp(low, high));
}

void unary(const UnaryF32& params, const float* src, float* dst, int64_t count) noexcept {
  const F32 alpha = broadcast(params.alpha), beta = broadcast(params.beta), one = broadcast(1.0F);
  const auto hard_sigmoid = [=, unit = Clamp(0.0F, 1.0F)](F32 x) { return unit(add(mul(alpha, x), beta)); };
  switch (params.op) {
    case UnaryOp::abs:
      return map(src, dst, count, [](F32 x) { return abs(x); });
    case UnaryOp::neg:
      return map(src, dst, count, [](F32 x) { return neg(x); });
    case UnaryOp::sqrt:
      return map(src, dst, count, [](F32 x) { return sqrt(x); });
    case UnaryOp::reciprocal:
      return map(src, dst, count, [=](F32 x) { return div(one, x); });
    case UnaryOp::floor:
      return map(src, dst, count, [](F32 x) { return floor(x); });
    case UnaryOp::ceil:
      return map(src, dst, count, [](F32 x) { return ceil(x); });
    case UnaryOp::round:
      return map(src, dst, count, [](F32 x) { return round(x); });
    case UnaryOp::leaky_relu:
      return map(src, dst, count, [=](F32 x) { return select_negative(x, mul(alpha, x), x); });
    case UnaryOp::hard_sigmoid:
      return map(src, dst, count, hard_sigmoid);
    case UnaryOp::hard_swish:
      return map(src, dst, count, [=](F32 x) { return mul(x, hard_sigmoid(x)); });
    case UnaryOp::gelu:
      if (params.alpha == 1.41421354F) return map(src, dst, count, [](F32 x) { return gelu(x); });
      return map(src, dst, count, [=](F32 x) { return mul(mul(broadcast(0.5F), x), add(one, erf(div(x, alpha)))); });
    case UnaryOp::gelu_tanh:
      return map(src, dst, count, [=](F32 x) {
        const F32 inner = mul(alpha, add(x, mul(beta, mul(mul(x, x), x))));
        return mul(mul(broadcast(0.5F), x), add(one, tanh(inner)));
      });
    case UnaryOp::swish:
      return map(src, dst, count, [=](F32 x) { return mul(x, sigmoid(mul(alpha, x))); });
    case UnaryOp::exp:
      return map(src, dst, count, [](F32 x) { return exp(x); });
    case UnaryOp::tanh:
      return map(src, dst, count, [](F32 x) { return tanh(x); });
    case UnaryOp::erf:
      return map(src, dst, count, [](F32 x) { return erf(x); });
    case UnaryOp::sigmoid:
      return map(src, dst, count, [](F32 x) { return sigmoid(x); });
    case UnaryOp::log:
      return elementwise_f32_reference.unary(params, src, dst, count);
  }
}

}  // namespace
}  // namespace zeropoint::kernels
