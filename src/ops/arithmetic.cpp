// Operators of several inputs, element by element with numpy's broadcasting: arithmetic, comparison, logic, Where.
#include <cmath>
#include <functional>
#include <limits>
#include <type_traits>

#include "numerics/elementary.h"
#include "numerics/elementwise.h"
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// z[i] = function(a[i], b[i]) over the broadcast shape.
template <class T, class R, class Function>
Tensor combine(const Tensor& a, const Tensor& b, const Dims& dims, Function function) {
  Tensor result(dtype_of<R>, dims);
  const auto x = a.values<T>(), y = b.values<T>();
  const auto z = result.mutable_values<R>();
  if (a.dims() == dims && b.dims() == dims) {
    for (std::size_t i = 0; i < z.size(); ++i) z[i] = function(x[i], y[i]);
  } else {
    walk<2>(dims, {broadcast_strides(a.dims(), dims), broadcast_strides(b.dims(), dims)},
            [&](std::int64_t i, const auto& at) { z[i] = function(x[at[0]], y[at[1]]); });
  }
  return result;
}

Dims broadcast_dims(const Node& node, const Dims& a, const Dims& b) {
  return *fixed_dims(broadcast(node, to_shape(a), to_shape(b)));
}

using numerics::Add, numerics::Sub, numerics::Mul, numerics::Min, numerics::Max, numerics::PRelu;

struct Div {  // integers: towards zero
  template <class T>
  T operator()(const Node& node, T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) fail(ErrorCode::kBadArgument, node, "an integer is divided by zero");
      if constexpr (std::is_signed_v<T>)
        if (b == -1) return Sub()(T{0}, a);
      return static_cast<T>(a / b);
    } else {
      return a / b;
    }
  }
};
struct Mod {  // fmod = 0: the sign of the divisor; fmod = 1: of the dividend
  template <class T>
  T operator()(const Node& node, T a, T b) const {
    const bool by_divisor = node.get_int("fmod", 0) == 0;
    if constexpr (std::is_unsigned_v<T>) {
      if (b == 0) fail(ErrorCode::kBadArgument, node, "an integer is divided by zero");
      return static_cast<T>(a % b);
    } else if constexpr (std::is_integral_v<T>) {
      if (b == 0) fail(ErrorCode::kBadArgument, node, "an integer is divided by zero");
      if (b == -1) return 0;
      const auto rest = static_cast<T>(a % b);
      return by_divisor && rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
    } else {
      const T rest = std::fmod(a, b);  // exact by definition
      if (!by_divisor || rest != rest) return rest;
      if (rest == 0) return std::copysign(T{0}, b);
      return (rest < 0) != (b < 0) ? rest + b : rest;
    }
  }
};
struct BitShift {  // signed numbers keep their sign to the right; by less than 0 or all bits: what is left of the sign
  template <class T>
  T operator()(const Node& node, T a, T b) const {
    const std::string direction = node.get_string("direction", "");
    if (direction != "LEFT" && direction != "RIGHT") fail(ErrorCode::kBadAttribute, node, "direction is '" + direction + "'");
    const bool right = direction == "RIGHT";
    if (b < T{0} || static_cast<std::uint64_t>(b) >= sizeof(T) * 8) return static_cast<T>(right && a < T{0} ? -1 : 0);
    return static_cast<T>(right ? a >> b : static_cast<T>(static_cast<std::uint64_t>(a) << b));
  }
};
// Functions that can fail are told the node.
template <class Function, class T>
T apply(const Node& node, T a, T b) {
  if constexpr (std::is_invocable_v<Function, T, T>)
    return static_cast<T>(Function{}(a, b));
  else
    return Function{}(node, a, b);
}

template <class Function>
std::vector<Tensor> fold(const ComputeArgs& args) {
  Tensor result = args.inputs[0];
  with_numbers(args.node, result.dtype(), [&]<class T>(T) {
    for (std::size_t i = 1; i < args.inputs.size(); ++i) {
      if (!args.inputs[i].defined()) continue;
      const Dims dims = broadcast_dims(args.node, result.dims(), args.inputs[i].dims());
      result = combine<T, T>(result, args.inputs[i], dims, [&](T a, T b) { return apply<Function>(args.node, a, b); });
    }
  });
  return one(std::move(result));
}

template <class Function>
std::vector<Tensor> fold_integers(const ComputeArgs& args) {
  const Tensor &a = args.inputs[0], &b = args.inputs[1];
  Tensor result;
  with_integers(args.node, a.dtype(), [&]<class T>(T) {
    result = combine<T, T>(a, b, broadcast_dims(args.node, a.dims(), b.dims()),
                           [&](T p, T q) { return apply<Function>(args.node, p, q); });
  });
  return one(std::move(result));
}

std::vector<Tensor> mean(const ComputeArgs& args) {
  Tensor sum = fold<Add>(args)[0];
  with_floats(args.node, sum.dtype(), [&]<class T>(T) {
    for (T& value : sum.mutable_values<T>()) value /= static_cast<T>(args.inputs.size());
  });
  return one(std::move(sum));
}

// ---- Pow: base and exponent may differ in type; the result is typed as the base.

std::vector<TensorType> pow_shape(const ShapeArgs& args) {
  TensorType result{args.inputs[0].dtype, std::nullopt};
  if (args.inputs[0].shape && args.inputs[1].shape)
    result.shape = broadcast(args.node, *args.inputs[0].shape, *args.inputs[1].shape);
  return {result};
}

// By squaring, wrapping around. A negative exponent leaves the integer part of the fraction.
template <class E>
std::int64_t integer_power(std::int64_t base, E exponent) {
  if constexpr (std::is_signed_v<E>)
    if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 == 0 ? 1 : -1) : 0;
  std::int64_t result = 1;
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 != 0) result = Mul()(result, base);
    base = Mul()(base, base);
  }
  return result;
}

template <class T, class E>
T power(T base, E exponent) {
  if constexpr (std::is_integral_v<T> && std::is_integral_v<E>)
    return static_cast<T>(integer_power(static_cast<std::int64_t>(base), exponent));
  const double value = numerics::pow(static_cast<double>(base), static_cast<double>(exponent));
  if constexpr (std::is_integral_v<T>) {  // 4^0.5 is 2, whatever pow's last digits are
    const double nearest = std::nearbyint(value);
    if (std::fabs(value - nearest) <= 1e-12 * std::fabs(value)) return converted<T>(nearest);
  }
  return converted<T>(value);
}

std::vector<Tensor> pow_reference(const ComputeArgs& args) {
  const Tensor &base = args.inputs[0], &exponent = args.inputs[1];
  Tensor result = make_output(args);
  const Dims dims = result.dims();
  with_numbers(args.node, base.dtype(), [&]<class T>(T) {
    with_numbers(args.node, exponent.dtype(), [&]<class E>(E) {
      const auto x = base.values<T>();
      const auto y = exponent.values<E>();
      const auto z = result.mutable_values<T>();
      walk<2>(dims, {broadcast_strides(base.dims(), dims), broadcast_strides(exponent.dims(), dims)},
              [&](std::int64_t i, const auto& at) { z[i] = power<T, E>(x[at[0]], y[at[1]]); });
    });
  });
  return one(std::move(result));
}

// PRelu's slope broadcasts to x and not the other way. (Before opset 7 a slope of shape [C] meant channels.)
std::vector<TensorType> prelu_shape(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &slope = args.inputs[1];
  same_dtype(args.node, x.dtype, slope.dtype);
  if (x.shape && slope.shape) {
    const Shape shape = broadcast(args.node, *x.shape, *slope.shape);
    bool grows = shape.size() != x.shape->size();
    for (std::size_t i = 0; !grows && i < shape.size(); ++i)
      grows = shape[i].fixed() && (*x.shape)[i].fixed() && shape[i] != (*x.shape)[i];
    if (grows)
      fail(ErrorCode::kBadShape, args.node,
           "slope " + to_string(*slope.shape) + " does not broadcast to " + to_string(*x.shape));
  }
  return {x};
}

// ---- comparison and logic

template <class Function>
std::vector<Tensor> compare(const ComputeArgs& args) {
  const Tensor &a = args.inputs[0], &b = args.inputs[1];
  const Dims dims = output_dims(args);
  if constexpr (std::is_same_v<Function, std::equal_to<>>)
    if (a.dtype() == DType::b8) return one(combine<bool, bool>(a, b, dims, Function{}));
  Tensor result;
  with_numbers(args.node, a.dtype(), [&]<class T>(T) { result = combine<T, bool>(a, b, dims, Function{}); });
  return one(std::move(result));
}

template <class Function>
std::vector<Tensor> logic(const ComputeArgs& args) {
  return one(combine<bool, bool>(args.inputs[0], args.inputs[1], output_dims(args), Function{}));
}

std::vector<TensorType> where_shape(const ShapeArgs& args) {
  if (args.inputs[0].dtype != DType::b8 && args.inputs[0].dtype != DType::undefined)
    fail_type(args.node, 0, args.inputs[0].dtype);
  TensorType result{same_dtype(args.node, args.inputs[1].dtype, args.inputs[2].dtype), std::nullopt};
  if (args.inputs[0].shape && args.inputs[1].shape && args.inputs[2].shape)
    result.shape =
        broadcast(args.node, broadcast(args.node, *args.inputs[0].shape, *args.inputs[1].shape), *args.inputs[2].shape);
  return {result};
}

std::vector<Tensor> where(const ComputeArgs& args) {
  const Tensor &condition = args.inputs[0], &x = args.inputs[1], &y = args.inputs[2];
  Tensor result = make_output(args);
  const Dims dims = result.dims();
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto choose = condition.values<bool>();
    const auto a = words<W>(x), b = words<W>(y);
    const auto z = mutable_words<W>(result);
    walk<3>(dims,
            {broadcast_strides(condition.dims(), dims), broadcast_strides(x.dims(), dims), broadcast_strides(y.dims(), dims)},
            [&](std::int64_t i, const auto& at) { z[i] = choose[at[0]] ? a[at[1]] : b[at[2]]; });
  });
  return one(std::move(result));
}

Operator binary(std::string_view type, Reference reference, std::int64_t since = 7) {
  return {.op_type = type, .since = since, .min_inputs = 2, .max_inputs = 2, .shape = broadcast_inputs, .reference = reference};
}
Operator variadic(std::string_view type, Reference reference) {
  return {.op_type = type,
          .since = 6,
          .min_inputs = 1,
          .max_inputs = kAnyNumber,
          .shape = broadcast_inputs,
          .reference = reference};
}
Operator comparison(std::string_view type, Reference reference) {
  return {.op_type = type, .since = 7, .min_inputs = 2, .max_inputs = 2, .shape = broadcast_to_bool, .reference = reference};
}

}  // namespace

std::vector<Operator> arithmetic_operators() {
  return {
      binary("Add", half_in_f32<fold<Add>>),
      binary("Sub", half_in_f32<fold<Sub>>),
      binary("Mul", half_in_f32<fold<Mul>>),
      binary("Div", half_in_f32<fold<Div>>),
      binary("Mod", half_in_f32<fold<Mod>>, 10),
      {.op_type = "PRelu",
       .since = 7,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = prelu_shape,
       .reference = half_in_f32<fold<PRelu>>},
      {.op_type = "Pow",
       .since = 7,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = pow_shape,
       .reference = half_in_f32<pow_reference>},
      binary("BitShift", fold_integers<BitShift>, 11),
      binary("BitwiseAnd", fold_integers<std::bit_and<>>, 18),
      binary("BitwiseOr", fold_integers<std::bit_or<>>, 18),
      binary("BitwiseXor", fold_integers<std::bit_xor<>>, 18),
      variadic("Min", half_in_f32<fold<Min>>),
      variadic("Max", half_in_f32<fold<Max>>),
      variadic("Sum", half_in_f32<fold<Add>>),
      variadic("Mean", half_in_f32<mean>),
      comparison("Equal", half_in_f32<compare<std::equal_to<>>>),
      comparison("Less", half_in_f32<compare<std::less<>>>),
      comparison("Greater", half_in_f32<compare<std::greater<>>>),
      comparison("LessOrEqual", half_in_f32<compare<std::less_equal<>>>),
      comparison("GreaterOrEqual", half_in_f32<compare<std::greater_equal<>>>),
      comparison("And", logic<std::logical_and<>>),
      comparison("Or", logic<std::logical_or<>>),
      comparison("Xor", logic<std::not_equal_to<>>),
      {.op_type = "Where", .since = 9, .min_inputs = 3, .max_inputs = 3, .shape = where_shape, .reference = where},
  };
}

}  // namespace zeropoint::ops
