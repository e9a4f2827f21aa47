// Concat and Split.
#include <fmt/format.h>

#include <cstring>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> concat_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  if (node.find("axis") == nullptr && args.opset >= 4) fail(ErrorCode::kBadAttribute, node, "axis is missing");
  TensorType result{DType::undefined, std::nullopt};
  bool all_known = true;
  for (const TensorType& input : args.inputs) {
    result.dtype = same_dtype(node, result.dtype, input.dtype);
    all_known = all_known && input.shape.has_value();
  }
  if (!all_known) return {result};
  Shape shape = *args.inputs[0].shape;
  const std::size_t axis = normalize_axis(node, node.get_int("axis", 1), shape.size());
  for (std::size_t i = 1; i < args.inputs.size(); ++i) {
    const Shape& other = *args.inputs[i].shape;
    if (other.size() != shape.size())
      fail(ErrorCode::kBadShape, node, fmt::format("inputs {} and {} differ in rank", to_string(shape), to_string(other)));
    for (std::size_t k = 0; k < shape.size(); ++k) {
      if (k != axis)
        shape[k] = merge(node, shape[k], other[k]);
      else
        shape[k] = shape[k].fixed() && other[k].fixed() ? Dim(shape[k].value + other[k].value) : Dim();
    }
  }
  result.shape = shape;
  return {result};
}

// Bytes from one step along `axis` to the next.
std::size_t step_bytes(const Tensor& tensor, std::size_t axis) {
  std::size_t bytes = static_cast<std::size_t>(bits(tensor.dtype())) / 8;
  for (std::size_t i = axis + 1; i < tensor.rank(); ++i) bytes *= static_cast<std::size_t>(tensor.dim(i));
  return bytes;
}
std::size_t rows_before(const Tensor& tensor, std::size_t axis) {
  return static_cast<std::size_t>(element_count(std::span(tensor.dims()).first(axis)));
}

std::vector<Tensor> concat(const ComputeArgs& args) {
  Tensor y = make_output(args);
  if (bits(y.dtype()) < 8) fail_type(args.node, 0, y.dtype());
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 1), y.rank());
  const std::size_t rows = rows_before(y, axis), step = step_bytes(y, axis),
                    stride = step * static_cast<std::size_t>(y.dim(axis));
  const auto dst = y.mutable_bytes();
  std::size_t start = 0;
  for (const Tensor& input : args.inputs) {
    const std::size_t part = step * static_cast<std::size_t>(input.dim(axis));
    for (std::size_t row = 0; row < rows && part > 0; ++row)
      std::memcpy(&dst[row * stride + start], &input.bytes()[row * part], part);
    start += part;
  }
  return one(std::move(y));
}

// ---- Split: sizes by attribute (opset 2), input (opset 13), num_outputs (opset 18), or equal parts

std::vector<Dim> parts(const ShapeArgs& args, const Dim& whole) {
  const Node& node = args.node;
  const std::size_t count = node.outputs.size();
  const IntsArgument sizes = ints_argument(args, "split", 1);
  if (sizes.given) {
    if (!sizes.values) return std::vector<Dim>(count);
    std::int64_t sum = 0;
    for (const std::int64_t size : *sizes.values) {
      if (size < 0 || size > std::int64_t{1} << 40) fail(ErrorCode::kBadAttribute, node, fmt::format("a part of {}", size));
      sum += size;
    }
    if (sizes.values->size() != count || (whole.fixed() && sum != whole.value))
      fail(ErrorCode::kBadShape, node,
           fmt::format("split {} does not fit {} outputs of a dimension of {}", to_string(*sizes.values), count, whole.value));
    return {sizes.values->begin(), sizes.values->end()};
  }
  const std::int64_t number = node.get_int("num_outputs", static_cast<std::int64_t>(count));
  if (number != static_cast<std::int64_t>(count))
    fail(ErrorCode::kBadAttribute, node, fmt::format("num_outputs is {}, the node has {}", number, count));
  if (!whole.fixed()) return std::vector<Dim>(count);
  if (node.find("num_outputs") == nullptr && whole.value % number != 0)
    fail(ErrorCode::kBadShape, node, fmt::format("a dimension of {} does not split into {} equal parts", whole.value, number));
  const std::int64_t part = (whole.value + number - 1) / number;  // the last one takes what remains
  std::vector<Dim> dims(count, Dim(part));
  dims.back() = Dim(whole.value - part * (number - 1));
  if (dims.back().value < 0)
    fail(ErrorCode::kBadShape, node, fmt::format("a dimension of {} does not split into {} parts", whole.value, number));
  return dims;
}

std::vector<TensorType> split_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  std::vector<TensorType> results(args.node.outputs.size(), {x.dtype, std::nullopt});
  if (!x.shape || results.empty()) return results;
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 0), x.shape->size());
  const std::vector<Dim> sizes = parts(args, (*x.shape)[axis]);
  for (std::size_t i = 0; i < results.size(); ++i) {
    results[i].shape = x.shape;
    (*results[i].shape)[axis] = sizes[i];
  }
  return results;
}

std::vector<Tensor> split(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  if (bits(x.dtype()) < 8) fail_type(args.node, 0, x.dtype());
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 0), x.rank());
  const std::size_t rows = rows_before(x, axis), step = step_bytes(x, axis),
                    stride = step * static_cast<std::size_t>(x.dim(axis));
  std::vector<Tensor> results;
  std::size_t start = 0;
  for (std::size_t i = 0; i < args.outputs.size(); ++i) {
    Tensor y = make_output(args, i);
    const std::size_t part = step * static_cast<std::size_t>(y.dim(axis));
    const auto dst = y.mutable_bytes();
    for (std::size_t row = 0; row < rows && part > 0; ++row)
      std::memcpy(&dst[row * part], &x.bytes()[row * stride + start], part);
    start += part;
    results.push_back(std::move(y));
  }
  return results;
}

}  // namespace

std::vector<Operator> concat_operators() {
  return {
      {.op_type = "Concat",
       .since = 1,
       .min_inputs = 1,
       .max_inputs = kAnyNumber,
       .shape = concat_shape,
       .reference = small_in_bytes<concat>},
      {.op_type = "Split",
       .since = 2,
       .min_inputs = 1,
       .max_inputs = 2,
       .shape = split_shape,
       .reference = small_in_bytes<split>},
  };
}

}  // namespace zeropoint::ops
