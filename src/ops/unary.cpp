// Operators of one input, element by element. Each function names its formula; floats round once an arithmetic operation.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "numerics/elementary.h"
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// y[i] = function(x[i]).
template <class T, class Function>
Tensor map(const Tensor& src, Function function) {
  Tensor result(src.dtype(), src.dims());
  const auto x = src.values<T>();
  const auto y = result.mutable_values<T>();
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = function(x[i]);
  return result;
}

template <class Function>
std::vector<Tensor> over_floats(const ComputeArgs& args) {
  Tensor result;
  with_floats(args.node, args.inputs[0].dtype(), [&]<class T>(T) { result = map<T>(args.inputs[0], Function(args.node)); });
  return one(std::move(result));
}

template <class Function>
std::vector<Tensor> over_numbers(const ComputeArgs& args) {
  Tensor result;
  with_numbers(args.node, args.inputs[0].dtype(), [&]<class T>(T) { result = map<T>(args.inputs[0], Function(args.node)); });
  return one(std::move(result));
}

struct Plain {
  explicit Plain(const Node&) {}
};
struct Relu : Plain {  // max(x, 0); NaN stays
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return x < T{0} ? T{0} : x;
  }
};
struct Neg : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_integral_v<T>)
      return static_cast<T>(std::uint64_t{0} - static_cast<std::uint64_t>(x));
    else
      return -x;
  }
};
struct Abs : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_unsigned_v<T>)
      return x;
    else if constexpr (std::is_integral_v<T>)
      return x < 0 ? static_cast<T>(std::uint64_t{0} - static_cast<std::uint64_t>(x)) : x;
    else
      return std::fabs(x);
  }
};
struct Sign : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return x > T{0} ? T{1} : x < T{0} ? static_cast<T>(-1) : x;
  }
};
struct Sqrt : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return std::sqrt(x);
  }
};
struct Reciprocal : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return T{1} / x;
  }
};
struct Exp : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return numerics::exp(x);
  }
};
struct Log : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return numerics::log(x);
  }
};
struct Sigmoid : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return numerics::sigmoid(x);
  }
};
struct Tanh : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return numerics::tanh(x);
  }
};
struct Erf : Plain {  // of integers, as opsets 9 to 12 have it: its whole part
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_integral_v<T>)
      return converted<T>(numerics::erf(static_cast<double>(x)));
    else
      return numerics::erf(x);
  }
};
template <double (*function)(double)>
struct By : Plain {  // a function of numerics/elementary.h, in double
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return static_cast<T>(function(static_cast<double>(x)));
  }
};
struct Softplus : Plain {  // log(1 + exp(x)), in the form that cannot overflow
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    const auto wide = static_cast<double>(x);
    return static_cast<T>(std::max(wide, 0.0) + numerics::log(1.0 + numerics::exp(-std::fabs(wide))));
  }
};
struct Softsign : Plain {  // x / (1 + |x|)
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return x / (T{1} + std::fabs(x));
  }
};
struct Floor : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return std::floor(x);
  }
};
struct Ceil : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return std::ceil(x);
  }
};
struct Round : Plain {  // ties to even
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return std::nearbyint(x);
  }
};
struct LeakyRelu {  // x < 0: alpha x
  explicit LeakyRelu(const Node& node) : alpha(node.get_float("alpha", 0.01F)) {}
  template <class T>
  T operator()(T x) const {
    return x < T{0} ? static_cast<T>(alpha) * x : x;
  }
  float alpha;
};
struct Elu {  // x < 0: alpha (exp(x) - 1)
  explicit Elu(const Node& node) : alpha(node.get_float("alpha", 1.0F)) {}
  template <class T>
  T operator()(T x) const {
    return x < T{0} ? static_cast<T>(alpha) * static_cast<T>(numerics::exp(static_cast<double>(x)) - 1.0) : x;
  }
  float alpha;
};
struct HardSigmoid {  // max(0, min(1, alpha x + beta))
  explicit HardSigmoid(const Node& node) : alpha(node.get_float("alpha", 0.2F)), beta(node.get_float("beta", 0.5F)) {}
  template <class T>
  T operator()(T x) const {
    const T line = static_cast<T>(alpha) * x + static_cast<T>(beta);
    return line < T{0} ? T{0} : line > T{1} ? T{1} : line;
  }
  float alpha, beta;
};
struct HardSwish : Plain {  // x HardSigmoid(x) with alpha 1/6, beta 0.5
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    const T line = static_cast<T>(1.0F / 6.0F) * x + static_cast<T>(0.5F);
    return x * (line < T{0} ? T{0} : line > T{1} ? T{1} : line);
  }
};
struct Gelu {  // 0.5 x (1 + erf(x / sqrt(2))), or its tanh form
  explicit Gelu(const Node& node) : by_tanh(node.get_string("approximate", "none") == "tanh") {}
  template <class T>
  T operator()(T x) const {
    if (by_tanh) {
      const T inner = static_cast<T>(0.7978845608028654) * (x + static_cast<T>(0.044715) * ((x * x) * x));
      return (static_cast<T>(0.5) * x) * (T{1} + numerics::tanh(inner));
    }
    return (static_cast<T>(0.5) * x) * (T{1} + numerics::erf(x / static_cast<T>(1.4142135623730951)));
  }
  bool by_tanh;
};

struct Selu {  // x > 0: gamma x; else gamma (alpha exp(x) - alpha)
  explicit Selu(const Node& node)
      : alpha(node.get_float("alpha", 1.67326319217681884765625F)),
        gamma(node.get_float("gamma", 1.05070102214813232421875F)) {}
  template <class T>
  T operator()(T x) const {
    if (!(x <= T{0})) return static_cast<T>(gamma) * x;
    return static_cast<T>(gamma) * (static_cast<T>(alpha) * static_cast<T>(numerics::exp(static_cast<double>(x)) - 1.0));
  }
  float alpha, gamma;
};
struct Celu {  // max(0, x) + min(0, alpha (exp(x / alpha) - 1))
  explicit Celu(const Node& node) : alpha(node.get_float("alpha", 1.0F)) {}
  template <class T>
  T operator()(T x) const {
    if (!(x < T{0})) return x;
    return static_cast<T>(alpha) * static_cast<T>(numerics::exp(static_cast<double>(x / static_cast<T>(alpha))) - 1.0);
  }
  float alpha;
};
struct ThresholdedRelu {  // x > alpha: x; else 0
  explicit ThresholdedRelu(const Node& node) : alpha(node.get_float("alpha", 1.0F)) {}
  template <class T>
  T operator()(T x) const {
    return x > static_cast<T>(alpha) || x != x ? x : T{0};
  }
  float alpha;
};
struct Shrink {  // x < -lambd: x + bias; x > lambd: x - bias; else 0
  explicit Shrink(const Node& node) : bias(node.get_float("bias", 0.0F)), lambd(node.get_float("lambd", 0.5F)) {}
  template <class T>
  T operator()(T x) const {
    const auto wide = static_cast<double>(x);
    if (x != x) return x;
    return converted<T>(wide < -lambd ? wide + bias : wide > lambd ? wide - bias : 0.0);
  }
  double bias, lambd;
};
struct Mish : Plain {  // x tanh(log(1 + exp(x)))
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    const auto wide = static_cast<double>(x);
    return static_cast<T>(wide * numerics::tanh(std::max(wide, 0.0) + numerics::log(1.0 + numerics::exp(-std::fabs(wide)))));
  }
};
struct Swish {  // x sigmoid(alpha x)
  explicit Swish(const Node& node) : alpha(node.get_float("alpha", 1.0F)) {}
  template <class T>
  T operator()(T x) const {
    return x * numerics::sigmoid(static_cast<T>(alpha) * x);
  }
  float alpha;
};
struct BitwiseNot : Plain {
  using Plain::Plain;
  template <class T>
  T operator()(T x) const {
    return static_cast<T>(~x);
  }
};

std::vector<Tensor> bitwise_not(const ComputeArgs& args) {
  Tensor result;
  with_integers(args.node, args.inputs[0].dtype(), [&]<class T>(T) { result = map<T>(args.inputs[0], BitwiseNot(args.node)); });
  return one(std::move(result));
}

// IsNaN, IsInf: of floats, 8-bit ones too.
std::vector<TensorType> test_shape(const ShapeArgs& args) {
  const DType dtype = args.inputs[0].dtype;
  if (is_integer(dtype) || dtype == DType::b8) fail_type(args.node, 0, dtype);
  return {{DType::b8, args.inputs[0].shape}};
}
template <class Test>
std::vector<Tensor> test(const ComputeArgs& args, Test test) {
  const Tensor x = float8_to_f32(widened(args.inputs[0]));
  Tensor y = make_output(args);
  const auto dst = y.mutable_values<bool>();
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = test(src[i]);
  });
  return one(std::move(y));
}
std::vector<Tensor> is_nan(const ComputeArgs& args) {
  return test(args, [](auto x) { return x != x; });
}
std::vector<Tensor> is_inf(const ComputeArgs& args) {
  const bool negative = args.node.get_int("detect_negative", 1) != 0, positive = args.node.get_int("detect_positive", 1) != 0;
  return test(args, [&]<class T>(T x) {
    constexpr T kInfinity = std::numeric_limits<T>::infinity();
    return (positive && x == kInfinity) || (negative && x == -kInfinity);
  });
}

std::vector<Tensor> logical_not(const ComputeArgs& args) {
  return one(map<bool>(args.inputs[0], [](bool x) { return !x; }));
}

// Clip: limits by attributes (opset 6) or optional scalar inputs (opset 11); min(max(x, low), high), so high wins; NaN stays.
std::vector<TensorType> clip_shape(const ShapeArgs& args) {
  for (std::size_t i = 1; i < args.inputs.size(); ++i) {
    same_dtype(args.node, args.inputs[0].dtype, args.inputs[i].dtype);
    if (args.inputs[i].shape && known_count(*args.inputs[i].shape).value_or(1) != 1)
      fail(ErrorCode::kBadShape, args.node, "a limit must be a scalar, not of shape " + to_string(*args.inputs[i].shape));
  }
  return {args.inputs[0]};
}

std::vector<Tensor> clip(const ComputeArgs& args) {
  Tensor result;
  with_numbers(args.node, args.inputs[0].dtype(), [&]<class T>(T) {
    T low = std::numeric_limits<T>::lowest(), high = std::numeric_limits<T>::max();
    if constexpr (std::is_floating_point_v<T>)
      low = -std::numeric_limits<T>::infinity(), high = std::numeric_limits<T>::infinity();
    if (args.node.find("min") != nullptr) low = converted<T>(args.node.get_float("min", 0));
    if (args.node.find("max") != nullptr) high = converted<T>(args.node.get_float("max", 0));
    if (args.inputs[1].defined()) low = args.inputs[1].values<T>()[0];
    if (args.inputs[2].defined()) high = args.inputs[2].values<T>()[0];
    result = map<T>(args.inputs[0], [=](T x) {
      const T raised = x < low ? low : x;
      return raised > high ? high : raised;
    });
  });
  return one(std::move(result));
}

std::vector<Tensor> identity(const ComputeArgs& args) { return one(args.inputs[0]); }

// Dropout at inference: the input as it is; the mask, where asked for, is all true.
std::vector<TensorType> dropout_shape(const ShapeArgs& args) { return {args.inputs[0], {DType::b8, args.inputs[0].shape}}; }
std::vector<Tensor> dropout(const ComputeArgs& args) {
  if (args.inputs[2].defined() && args.inputs[2].size() == 1 && args.inputs[2].values<bool>()[0] &&
      !(args.inputs[1].defined() && args.inputs[1].dtype() == DType::f32 && args.inputs[1].values<float>()[0] == 0))
    fail(ErrorCode::kUnsupported, args.node, "training_mode is set: export the model for inference");
  Tensor mask(DType::b8, args.inputs[0].dims());
  for (bool& kept : mask.mutable_values<bool>()) kept = true;
  return {args.inputs[0], std::move(mask)};
}

Operator unary(std::string_view type, Reference reference, std::int64_t since = 6) {
  return {.op_type = type, .since = since, .shape = same_as_input, .reference = reference};
}

}  // namespace

std::vector<Operator> unary_operators() {
  return {
      unary("Relu", half_in_f32<over_numbers<Relu>>),
      unary("LeakyRelu", half_in_f32<over_floats<LeakyRelu>>),
      unary("Elu", half_in_f32<over_floats<Elu>>),
      unary("Neg", half_in_f32<over_numbers<Neg>>),
      unary("Abs", half_in_f32<over_numbers<Abs>>),
      unary("Sign", half_in_f32<over_numbers<Sign>>, 9),
      unary("Sqrt", half_in_f32<over_floats<Sqrt>>),
      unary("Reciprocal", half_in_f32<over_floats<Reciprocal>>),
      unary("Exp", half_in_f32<over_floats<Exp>>),
      unary("Log", half_in_f32<over_floats<Log>>),
      unary("Sigmoid", half_in_f32<over_floats<Sigmoid>>),
      unary("HardSigmoid", half_in_f32<over_floats<HardSigmoid>>),
      unary("HardSwish", half_in_f32<over_floats<HardSwish>>, 14),
      unary("Tanh", half_in_f32<over_floats<Tanh>>),
      unary("Erf", half_in_f32<over_numbers<Erf>>, 9),
      unary("Gelu", half_in_f32<over_floats<Gelu>>, 20),
      unary("Softplus", half_in_f32<over_floats<Softplus>>, 1),
      unary("Softsign", half_in_f32<over_floats<Softsign>>, 1),
      unary("Floor", half_in_f32<over_floats<Floor>>),
      unary("Ceil", half_in_f32<over_floats<Ceil>>),
      unary("Round", half_in_f32<over_floats<Round>>, 11),
      unary("Sin", half_in_f32<over_floats<By<numerics::sin>>>, 7),
      unary("Cos", half_in_f32<over_floats<By<numerics::cos>>>, 7),
      unary("Tan", half_in_f32<over_floats<By<numerics::tan>>>, 7),
      unary("Asin", half_in_f32<over_floats<By<numerics::asin>>>, 7),
      unary("Acos", half_in_f32<over_floats<By<numerics::acos>>>, 7),
      unary("Atan", half_in_f32<over_floats<By<numerics::atan>>>, 7),
      unary("Sinh", half_in_f32<over_floats<By<numerics::sinh>>>, 9),
      unary("Cosh", half_in_f32<over_floats<By<numerics::cosh>>>, 9),
      unary("Asinh", half_in_f32<over_floats<By<numerics::asinh>>>, 9),
      unary("Acosh", half_in_f32<over_floats<By<numerics::acosh>>>, 9),
      unary("Atanh", half_in_f32<over_floats<By<numerics::atanh>>>, 9),
      unary("Selu", half_in_f32<over_floats<Selu>>),
      unary("Celu", half_in_f32<over_floats<Celu>>, 12),
      unary("ThresholdedRelu", half_in_f32<over_floats<ThresholdedRelu>>, 10),
      unary("Shrink", half_in_f32<over_numbers<Shrink>>, 9),
      unary("Mish", half_in_f32<over_floats<Mish>>, 18),
      unary("Swish", half_in_f32<over_floats<Swish>>, 24),
      unary("BitwiseNot", bitwise_not, 18),
      {.op_type = "IsNaN", .since = 9, .shape = test_shape, .reference = is_nan},
      {.op_type = "IsInf", .since = 10, .shape = test_shape, .reference = is_inf},
      unary("Not", logical_not, 1),
      unary("Identity", identity, 1),
      {.op_type = "Clip", .since = 6, .max_inputs = 3, .shape = clip_shape, .reference = half_in_f32<clip>},
      {.op_type = "Dropout", .since = 7, .max_inputs = 3, .shape = dropout_shape, .reference = dropout},
  };
}

}  // namespace zeropoint::ops
