#include "kernels/typed_elementwise/typed_elementwise.h"

#include <functional>
#include <limits>
#include <type_traits>

#include "numerics/elementary.h"
#include "numerics/elementwise.h"

namespace zeropoint::kernels {
namespace {

using std::int64_t;

// Calls line(offsets of the operands, flat position in dst, count, strides along the line) for each stretch of the last axis.
template <int kOperands, class Line>
void for_each_line(const TypedShape& shape, int64_t begin, int64_t end, const Line& line) {
  const int last = shape.rank - 1;
  const int64_t length = last < 0 ? 1 : shape.dims[last];
  int64_t steps[kOperands] = {};
  if (last >= 0)
    for (int k = 0; k < kOperands; ++k) steps[k] = shape.strides[k][last];
  for (int64_t flat = begin; flat < end;) {
    const int64_t inside = flat % length, count = length - inside < end - flat ? length - inside : end - flat;
    int64_t offsets[kOperands], rest = flat / length;
    for (int k = 0; k < kOperands; ++k) offsets[k] = inside * steps[k];
    for (int axis = last - 1; axis >= 0; --axis) {
      const int64_t i = rest % shape.dims[axis];
      rest /= shape.dims[axis];
      for (int k = 0; k < kOperands; ++k) offsets[k] += i * shape.strides[k][axis];
    }
    line(offsets, flat, count, steps);
    flat += count;
  }
}

template <class A, class Y, class Function>
void unary(const TypedShape& shape, const void* const* operands, void* dst, int64_t begin, int64_t end) noexcept {
  for_each_line<1>(shape, begin, end, [&](const int64_t* offsets, int64_t flat, int64_t count, const int64_t* steps) {
    const A* a = static_cast<const A*>(operands[0]) + offsets[0];
    Y* y = static_cast<Y*>(dst) + flat;
    if (steps[0] == 1)
      for (int64_t i = 0; i < count; ++i) y[i] = Function()(a[i]);
    else
      for (int64_t i = 0; i < count; ++i) y[i] = Function()(a[i * steps[0]]);
  });
}

template <class T, class Y, class Function>
void binary(const TypedShape& shape, const void* const* operands, void* dst, int64_t begin, int64_t end) noexcept {
  for_each_line<2>(shape, begin, end, [&](const int64_t* offsets, int64_t flat, int64_t count, const int64_t* steps) {
    const T* a = static_cast<const T*>(operands[0]) + offsets[0];
    const T* b = static_cast<const T*>(operands[1]) + offsets[1];
    Y* y = static_cast<Y*>(dst) + flat;
    const int64_t a_step = steps[0], b_step = steps[1];
    if (a_step == 1 && b_step == 1)
      for (int64_t i = 0; i < count; ++i) y[i] = Function()(a[i], b[i]);
    else if (a_step == 1 && b_step == 0)
      for (int64_t i = 0; i < count; ++i) y[i] = Function()(a[i], *b);
    else
      for (int64_t i = 0; i < count; ++i) y[i] = Function()(a[i * a_step], b[i * b_step]);
  });
}

template <class T>
void where(const TypedShape& shape, const void* const* operands, void* dst, int64_t begin, int64_t end) noexcept {
  for_each_line<3>(shape, begin, end, [&](const int64_t* offsets, int64_t flat, int64_t count, const int64_t* steps) {
    const bool* condition = static_cast<const bool*>(operands[0]) + offsets[0];
    const T* a = static_cast<const T*>(operands[1]) + offsets[1];
    const T* b = static_cast<const T*>(operands[2]) + offsets[2];
    T* y = static_cast<T*>(dst) + flat;
    for (int64_t i = 0; i < count; ++i) y[i] = condition[i * steps[0]] ? a[i * steps[1]] : b[i * steps[2]];
  });
}

struct Power {
  float operator()(float a, float b) const { return numerics::pow(a, b); }
};
template <class To>
struct Convert {
  template <class From>
  To operator()(From value) const {
    if constexpr (std::is_same_v<To, bool>) {
      return value != From{};
    } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
      constexpr From kAbove = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
      if (value != value) return 0;
      if (value >= kAbove) return std::numeric_limits<To>::max();
      if (value < static_cast<From>(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
      return static_cast<To>(value);
    } else {
      return static_cast<To>(value);
    }
  }
};

template <class Call>
TypedFunction with_element(Element element, const Call& call) {
  switch (element) {
    case Element::b8:
      return call(bool{});
    case Element::s32:
      return call(std::int32_t{});
    case Element::s64:
      return call(std::int64_t{});
    case Element::f32:
      return call(float{});
  }
  return nullptr;
}

}  // namespace

TypedFunction typed_binary(TypedOp op, Element element) {
  return with_element(element, [&]<class T>(T) -> TypedFunction {
    if constexpr (std::is_same_v<T, bool>) {
      switch (op) {
        case TypedOp::equal:
          return binary<T, bool, std::equal_to<>>;
        case TypedOp::logical_and:
          return binary<T, bool, std::logical_and<>>;
        case TypedOp::logical_or:
          return binary<T, bool, std::logical_or<>>;
        case TypedOp::logical_xor:
          return binary<T, bool, std::not_equal_to<>>;
        default:
          return nullptr;
      }
    } else {
      switch (op) {
        case TypedOp::add:
          return binary<T, T, numerics::Add>;
        case TypedOp::sub:
          return binary<T, T, numerics::Sub>;
        case TypedOp::mul:
          return binary<T, T, numerics::Mul>;
        case TypedOp::min:
          return binary<T, T, numerics::Min>;
        case TypedOp::max:
          return binary<T, T, numerics::Max>;
        case TypedOp::equal:
          return binary<T, bool, std::equal_to<>>;
        case TypedOp::less:
          return binary<T, bool, std::less<>>;
        case TypedOp::less_or_equal:
          return binary<T, bool, std::less_equal<>>;
        case TypedOp::greater:
          return binary<T, bool, std::greater<>>;
        case TypedOp::greater_or_equal:
          return binary<T, bool, std::greater_equal<>>;
        case TypedOp::power:
          if constexpr (std::is_same_v<T, float>) return binary<T, T, Power>;
          return nullptr;
        case TypedOp::prelu:
          if constexpr (std::is_same_v<T, float>) return binary<T, T, numerics::PRelu>;
          return nullptr;
        default:
          return nullptr;
      }
    }
  });
}

TypedFunction typed_cast(Element from, Element to) {
  return with_element(from, [&]<class From>(From) {
    return with_element(to, [&]<class To>(To) -> TypedFunction { return unary<From, To, Convert<To>>; });
  });
}

TypedFunction typed_not() { return unary<bool, bool, std::logical_not<>>; }

TypedFunction typed_where(int bytes) {
  return bytes == 1   ? where<std::uint8_t>
         : bytes == 4 ? where<std::uint32_t>
         : bytes == 8 ? where<std::uint64_t>
                      : static_cast<TypedFunction>(nullptr);
}

}  // namespace zeropoint::kernels
