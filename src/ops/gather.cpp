// Gather: y[a..., i..., b...] = x[a..., indices[i...], b...]; negative indices count from the end.
#include <fmt/format.h>

#include <cstring>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> gather_shape(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &indices = args.inputs[1];
  if (indices.dtype != DType::undefined && indices.dtype != DType::s64 && indices.dtype != DType::s32)
    fail_type(args.node, 1, indices.dtype);
  if (!x.shape || !indices.shape) return {{x.dtype, std::nullopt}};
  const auto axis = static_cast<std::ptrdiff_t>(normalize_axis(args.node, args.node.get_int("axis", 0), x.shape->size()));
  Shape shape(x.shape->begin(), x.shape->begin() + axis);
  shape.insert(shape.end(), indices.shape->begin(), indices.shape->end());
  shape.insert(shape.end(), x.shape->begin() + axis + 1, x.shape->end());
  return {{x.dtype, shape}};
}

std::vector<Tensor> gather(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  if (bits(x.dtype()) < 8) {
    std::vector<Tensor> inputs = {unpacked(x), args.inputs[1]};
    const std::vector<TensorType> outputs = {{inputs[0].dtype(), args.outputs[0].shape}};
    return one(packed(gather({args.node, args.opset, inputs, outputs})[0], x.dtype()));
  }
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 0), x.rank());
  Tensor y = make_output(args);
  std::vector<std::int64_t> indices = ints(args.inputs[1]);
  for (std::int64_t& index : indices) {
    if (index < -x.dim(axis) || index >= x.dim(axis))
      fail(ErrorCode::kBadShape, args.node, fmt::format("index {} is outside a dimension of {}", index, x.dim(axis)));
    if (index < 0) index += x.dim(axis);
  }
  std::size_t part = static_cast<std::size_t>(bits(x.dtype())) / 8;  // bytes of one index
  for (std::size_t i = axis + 1; i < x.rank(); ++i) part *= static_cast<std::size_t>(x.dim(i));
  const auto rows = static_cast<std::size_t>(element_count(std::span(x.dims()).first(axis)));
  const auto size = static_cast<std::size_t>(x.dim(axis));
  const auto dst = y.mutable_bytes();
  if (dst.empty()) return one(std::move(y));
  for (std::size_t row = 0; row < rows; ++row)
    for (std::size_t i = 0; i < indices.size(); ++i)
      std::memcpy(&dst[(row * indices.size() + i) * part],
                  &x.bytes()[(row * size + static_cast<std::size_t>(indices[i])) * part], part);
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> gather_operators() {
  return {{.op_type = "Gather", .min_inputs = 2, .max_inputs = 2, .shape = gather_shape, .reference = gather}};
}

}  // namespace zeropoint::ops
