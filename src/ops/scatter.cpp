// ScatterElements: y = x; y[indices[i, j, k], j, k] = updates[i, j, k] for axis 0
// ScatterND:       y = x; y[indices[i..., :], :] = updates[i..., :]
// With `reduction` (opset 16: add, mul; 18: min, max) the old value takes part. Updates in row-major order: the last one wins.
#include <fmt/format.h>

#include <algorithm>

#include "ops/families.h"
#include "ops/indexing.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> typed_as_data(const ShapeArgs& args) {
  return {{same_dtype(args.node, args.inputs[0].dtype, args.inputs[2].dtype), args.inputs[0].shape}};
}

std::vector<TensorType> scatter_elements_shape(const ShapeArgs& args) {
  check_elements_shape(args);
  const auto &indices = args.inputs[1].shape, &updates = args.inputs[2].shape;
  if (indices && updates) {
    if (indices->size() != updates->size())
      fail(ErrorCode::kBadShape, args.node,
           fmt::format("indices {} and updates {} differ", to_string(*indices), to_string(*updates)));
    for (std::size_t i = 0; i < indices->size(); ++i) merge(args.node, (*indices)[i], (*updates)[i]);
  }
  return typed_as_data(args);
}

std::vector<TensorType> scatter_nd_shape(const ShapeArgs& args) {
  const auto &x = args.inputs[0].shape, &indices = args.inputs[1].shape, &updates = args.inputs[2].shape;
  if (args.inputs[1].dtype != DType::undefined && args.inputs[1].dtype != DType::s64)
    fail_type(args.node, 1, args.inputs[1].dtype);
  if (x && indices && updates && !indices->empty() && indices->back().fixed()) {
    const Dim& last = indices->back();
    if (last.value < 1 || last.value > static_cast<std::int64_t>(x->size()))
      fail(ErrorCode::kBadShape, args.node, fmt::format("indices name {} axes of {}", last.value, to_string(*x)));
    Shape wanted(indices->begin(), indices->end() - 1);
    wanted.insert(wanted.end(), x->begin() + last.value, x->end());
    if (wanted.size() != updates->size())
      fail(ErrorCode::kBadShape, args.node, fmt::format("updates must be {}, not {}", to_string(wanted), to_string(*updates)));
    for (std::size_t i = 0; i < wanted.size(); ++i) merge(args.node, wanted[i], (*updates)[i]);
  } else if (indices && indices->empty()) {
    fail(ErrorCode::kBadShape, args.node, "indices need a dimension");
  }
  return typed_as_data(args);
}

template <class T>
T add(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  else
    return a + b;
}
template <class T>
T multiply(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
  else
    return a * b;
}

// y[to(i)] = reduce(y[to(i)], updates[i]) for each update i.
template <class To>
Tensor scatter(const ComputeArgs& args, To&& to) {
  const Node& node = args.node;
  const Tensor& updates = args.inputs[2];
  const std::string reduction = node.get_string("reduction", "none");
  Tensor y = args.inputs[0];
  const std::int64_t count = updates.size();
  if (reduction == "none") {
    with_words(node, y.dtype(), [&]<class W>(W) {
      const auto dst = mutable_words<W>(y);
      const auto src = words<W>(updates);
      for (std::int64_t i = 0; i < count; ++i) dst[to(i)] = src[i];
    });
    return y;
  }
  const auto apply = [&](auto&& function) {
    with_numbers(node, y.dtype(), [&]<class T>(T) {
      const auto dst = y.mutable_values<T>();
      const auto src = updates.values<T>();
      for (std::int64_t i = 0; i < count; ++i) {
        T& value = dst[to(i)];
        value = function(value, src[i]);
      }
    });
  };
  // NaN wins, as in Min and Max.
  if (reduction == "add")
    apply([](auto a, auto b) { return add(a, b); });
  else if (reduction == "mul")
    apply([](auto a, auto b) { return multiply(a, b); });
  else if (reduction == "min")
    apply([](auto a, auto b) { return a != a ? a : b != b ? b : std::min(a, b); });
  else if (reduction == "max")
    apply([](auto a, auto b) { return a != a ? a : b != b ? b : std::max(a, b); });
  else
    fail(ErrorCode::kBadAttribute, node, "reduction is '" + reduction + "'");
  return y;
}

std::vector<Tensor> scatter_elements(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &updates = args.inputs[2];
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 0), x.rank());
  const std::vector<std::int64_t> indices = ints(args.inputs[1]);
  Dims strides = strides_of(x.dims());
  const std::int64_t step = strides[axis];
  strides[axis] = 0;
  std::vector<std::int64_t> places(indices.size());
  walk<1>(updates.dims(), {strides}, [&](std::int64_t i, const auto& at) {
    places[i] = at[0] + checked_index(args.node, indices[i], x.dim(axis)) * step;
  });
  return one(scatter(args, [&](std::int64_t i) { return static_cast<std::size_t>(places[i]); }));
}

std::vector<Tensor> scatter_nd(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &indices = args.inputs[1];
  if (indices.size() == 0 || args.inputs[2].size() == 0) return one(x);
  const auto named = static_cast<std::size_t>(indices.dim(indices.rank() - 1));
  const Dims strides = strides_of(x.dims());
  const auto values = indices.values<std::int64_t>();
  const std::int64_t part = element_count(std::span(x.dims()).subspan(named));  // elements of one index
  std::vector<std::int64_t> places(values.size() / named);
  for (std::size_t i = 0; i < places.size(); ++i)
    places[i] = nd_offset(args.node, values.subspan(i * named, named), x.dims(), strides);
  return one(scatter(args, [&](std::int64_t i) { return static_cast<std::size_t>(places[i / part] + i % part); }));
}

}  // namespace

std::vector<Operator> scatter_operators() {
  const auto row = [](std::string_view type, std::int64_t since, ShapeRule shape, Reference reference) {
    return Operator{.op_type = type, .since = since, .min_inputs = 3, .max_inputs = 3, .shape = shape, .reference = reference};
  };
  return {
      row("ScatterElements", 11, scatter_elements_shape, half_in_f32<small_in_bytes<scatter_elements>>),
      row("ScatterND", 11, scatter_nd_shape, half_in_f32<small_in_bytes<scatter_nd>>),
      row("Scatter", 9, scatter_elements_shape, half_in_f32<small_in_bytes<scatter_elements>>),  // its first name
  };
}

}  // namespace zeropoint::ops
