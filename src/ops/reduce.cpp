// ReduceMean, ReduceSum, ReduceMax, ReduceMin, ReduceProd, ReduceSumSquare, ReduceL1, ReduceL2, ReduceLogSum,
// ReduceLogSumExp: over the axes
// named by attribute or input, all when none are. Elements in row-major order; float sums in the order of numerics/lane_sum.h.
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "numerics/elementary.h"
#include "numerics/lane_sum.h"
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// The reduced axes, or nullopt while they are unknown.
std::optional<std::vector<bool>> reduced_axes(const ShapeArgs& args, std::size_t rank) {
  const IntsArgument axes = ints_argument(args, "axes", 1);
  if (!axes.values) return std::nullopt;
  const bool all = axes.values->empty() && args.node.get_int("noop_with_empty_axes", 0) == 0;
  std::vector<bool> reduced(rank, all);
  for (const std::size_t axis : normalize_axes(args.node, *axes.values, rank)) reduced[axis] = true;
  return reduced;
}

std::vector<TensorType> reduce_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  const bool keep = args.node.get_int("keepdims", 1) != 0;
  const auto reduced = reduced_axes(args, x.shape->size());
  if (!reduced) return {{x.dtype, keep ? std::optional(unknown_shape(x.shape->size())) : std::nullopt}};
  Shape shape;
  for (std::size_t i = 0; i < x.shape->size(); ++i) {
    if (!(*reduced)[i])
      shape.push_back((*x.shape)[i]);
    else if (keep)
      shape.emplace_back(1);
  }
  return {{x.dtype, shape}};
}

template <class T>
T sum(std::span<const T> values) {
  if constexpr (std::is_floating_point_v<T>) return numerics::lane_sum<T>(values);
  std::uint64_t total = 0;  // integers wrap around
  for (const T value : values) total += static_cast<std::uint64_t>(value);
  return static_cast<T>(total);
}

struct Sum {
  template <class T>
  static T run(std::span<const T> values) {
    return sum(values);
  }
};
struct Mean {
  template <class T>
  static T run(std::span<const T> values) {
    if constexpr (std::is_integral_v<T>)
      if (values.empty()) return 0;
    return static_cast<T>(sum(values) / static_cast<T>(values.size()));
  }
};
template <bool largest>
struct Extreme {  // NaN wins; of nothing: the neutral element
  template <class T>
  static T run(std::span<const T> values) {
    using Limits = std::numeric_limits<T>;
    T best = largest ? (Limits::has_infinity ? -Limits::infinity() : Limits::lowest())
                     : (Limits::has_infinity ? Limits::infinity() : Limits::max());
    for (const T value : values)
      if (value != value || (largest ? value > best : value < best)) best = value;
    return best;
  }
};
struct Product {
  template <class T>
  static T run(std::span<const T> values) {
    if constexpr (std::is_integral_v<T>) {
      std::uint64_t result = 1;
      for (const T value : values) result *= static_cast<std::uint64_t>(value);
      return static_cast<T>(result);
    } else {
      T result = 1;
      for (const T value : values) result *= value;
      return result;
    }
  }
};
struct SumSquare {
  template <class T>
  static T run(std::span<const T> values) {
    if constexpr (std::is_integral_v<T>) {
      std::uint64_t total = 0;
      for (const T value : values) total += static_cast<std::uint64_t>(value) * static_cast<std::uint64_t>(value);
      return static_cast<T>(total);
    } else {
      std::vector<T> squares(values.begin(), values.end());
      for (T& value : squares) value *= value;
      return sum<T>(squares);
    }
  }
};
template <class T>
T size_of(T value) {
  if constexpr (std::is_floating_point_v<T>)
    return std::fabs(value);
  else if constexpr (std::is_signed_v<T>)
    return value < 0 ? static_cast<T>(std::uint64_t{0} - static_cast<std::uint64_t>(value)) : value;
  else
    return value;
}
struct L1 {
  template <class T>
  static T run(std::span<const T> values) {
    std::vector<T> sizes(values.size());
    std::transform(values.begin(), values.end(), sizes.begin(), size_of<T>);
    return sum<T>(sizes);
  }
};
struct L2 {
  template <class T>
  static T run(std::span<const T> values) {
    return converted<T>(std::sqrt(static_cast<double>(SumSquare::run(values))));
  }
};
struct LogSum {
  template <class T>
  static T run(std::span<const T> values) {
    return converted<T>(numerics::log(static_cast<double>(sum(values))));
  }
};
struct LogSumExp {  // m + log(sum(exp(x - m))) with m = max(x), so that nothing overflows
  template <class T>
  static T run(std::span<const T> values) {
    const T most = Extreme<true>::run(values);
    if constexpr (std::is_integral_v<T>) {
      double total = 0;
      for (const T value : values) total += numerics::exp(static_cast<double>(value) - static_cast<double>(most));
      return converted<T>(static_cast<double>(most) + numerics::log(total));
    } else {
      if (!(std::fabs(most) < std::numeric_limits<T>::infinity())) return most;
      std::vector<T> powers(values.begin(), values.end());
      for (T& value : powers) value = numerics::exp(value - most);
      return most + numerics::log(sum<T>(powers));
    }
  }
};

template <class Function>
std::vector<Tensor> reduce(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  std::vector<TensorType> types = {{x.dtype(), to_shape(x.dims())}, {}};
  const std::vector<const Tensor*> constants = {&x, args.inputs[1].defined() ? &args.inputs[1] : nullptr};
  const std::vector<bool> reduced = *reduced_axes({args.node, args.opset, types, constants}, x.rank());
  const Dims strides = strides_of(x.dims());
  Dims kept_dims, kept_strides, reduced_dims, reduced_strides;
  for (std::size_t i = 0; i < x.rank(); ++i) {
    (reduced[i] ? reduced_dims : kept_dims).push_back(x.dim(i));
    (reduced[i] ? reduced_strides : kept_strides).push_back(strides[i]);
  }
  Tensor y = make_output(args);
  with_numbers(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    std::vector<T> gathered(static_cast<std::size_t>(element_count(reduced_dims)));
    walk<1>(kept_dims, {kept_strides}, [&](std::int64_t i, const auto& start) {
      walk<1>(reduced_dims, {reduced_strides}, [&](std::int64_t k, const auto& at) { gathered[k] = src[at[0]]; }, start);
      dst[i] = Function::template run<T>(gathered);
    });
  });
  return one(std::move(y));
}

// Of bools, the maximum is "any" and the minimum "all".
template <bool largest>
std::vector<Tensor> extreme(const ComputeArgs& args) {
  if (args.inputs[0].dtype() != DType::b8) return reduce<Extreme<largest>>(args);
  std::vector<Tensor> inputs(args.inputs.begin(), args.inputs.end());
  inputs[0] = Tensor::of<std::uint8_t>(inputs[0].dims(), words<std::uint8_t>(args.inputs[0]));
  const std::vector<TensorType> outputs = {{DType::u8, args.outputs[0].shape}};
  Tensor result(DType::b8, output_dims(args));
  const Tensor bytes = reduce<Extreme<largest>>({args.node, args.opset, inputs, outputs})[0];
  const auto src = bytes.values<std::uint8_t>();
  const auto dst = result.mutable_values<bool>();
  for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = src[i] != 0;  // of nothing: 0 and 255
  return one(std::move(result));
}

Operator reduction(std::string_view type, Reference reference) {
  return {.op_type = type, .min_inputs = 1, .max_inputs = 2, .shape = reduce_shape, .reference = reference};
}

}  // namespace

std::vector<Operator> reduce_operators() {
  return {
      reduction("ReduceMean", half_in_f32<reduce<Mean>>),     reduction("ReduceSum", half_in_f32<reduce<Sum>>),
      reduction("ReduceMax", half_in_f32<extreme<true>>),     reduction("ReduceMin", half_in_f32<extreme<false>>),
      reduction("ReduceProd", half_in_f32<reduce<Product>>),  reduction("ReduceSumSquare", half_in_f32<reduce<SumSquare>>),
      reduction("ReduceL1", half_in_f32<reduce<L1>>),         reduction("ReduceL2", half_in_f32<reduce<L2>>),
      reduction("ReduceLogSum", half_in_f32<reduce<LogSum>>), reduction("ReduceLogSumExp", half_in_f32<reduce<LogSumExp>>),
  };
}

}  // namespace zeropoint::ops
