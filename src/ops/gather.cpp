// Gather:         y[a..., i..., b...] = x[a..., indices[i...], b...]
// GatherElements: y[i, j, k] = x[indices[i, j, k], j, k] for axis 0
// GatherND:       y[b..., i..., :] = x[b..., indices[b..., i..., :], :], the last axis of indices naming leading axes of x
// Negative indices count from the end; those outside are refused.
#include <fmt/format.h>

#include <cstring>

#include "ops/families.h"
#include "ops/indexing.h"
#include "ops/rules.h"

namespace zeropoint::ops {

std::int64_t checked_index(const Node& node, std::int64_t index, std::int64_t size) {
  if (index < -size || index >= size)
    fail(ErrorCode::kBadShape, node, fmt::format("index {} is outside a dimension of {}", index, size));
  return index < 0 ? index + size : index;
}

void check_index_type(const Node& node, std::size_t input, DType dtype) {
  if (dtype != DType::undefined && dtype != DType::s64 && dtype != DType::s32) fail_type(node, input, dtype);
}

void check_elements_shape(const ShapeArgs& args) {
  const auto &x = args.inputs[0].shape, &indices = args.inputs[1].shape;
  check_index_type(args.node, 1, args.inputs[1].dtype);
  if (!x || !indices) return;
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 0), x->size());
  bool fits = x->size() == indices->size();
  for (std::size_t i = 0; fits && i < x->size(); ++i)
    fits = i == axis || !(*x)[i].fixed() || !(*indices)[i].fixed() || (*indices)[i].value <= (*x)[i].value;
  if (!fits)
    fail(ErrorCode::kBadShape, args.node,
         fmt::format("indices {} do not lie within {} beside axis {}", to_string(*indices), to_string(*x), axis));
}

std::int64_t nd_offset(const Node& node, std::span<const std::int64_t> place, std::span<const std::int64_t> dims,
                       std::span<const std::int64_t> strides) {
  std::int64_t offset = 0;
  for (std::size_t i = 0; i < place.size(); ++i) offset += checked_index(node, place[i], dims[i]) * strides[i];
  return offset;
}

namespace {

std::vector<TensorType> gather_shape(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &indices = args.inputs[1];
  check_index_type(args.node, 1, indices.dtype);
  if (!x.shape || !indices.shape) return {{x.dtype, std::nullopt}};
  const auto axis = static_cast<std::ptrdiff_t>(normalize_axis(args.node, args.node.get_int("axis", 0), x.shape->size()));
  Shape shape(x.shape->begin(), x.shape->begin() + axis);
  shape.insert(shape.end(), indices.shape->begin(), indices.shape->end());
  shape.insert(shape.end(), x.shape->begin() + axis + 1, x.shape->end());
  return {{x.dtype, shape}};
}

std::vector<Tensor> gather(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  if (bits(x.dtype()) < 8) fail_type(args.node, 0, x.dtype());
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 0), x.rank());
  Tensor y = make_output(args);
  std::vector<std::int64_t> indices = ints(args.inputs[1]);
  for (std::int64_t& index : indices) index = checked_index(args.node, index, x.dim(axis));
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

std::vector<TensorType> gather_elements_shape(const ShapeArgs& args) {
  check_elements_shape(args);
  return {{args.inputs[0].dtype, args.inputs[1].shape}};
}

std::vector<Tensor> gather_elements(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 0), x.rank());
  const std::vector<std::int64_t> indices = ints(args.inputs[1]);
  Tensor y = make_output(args);
  Dims strides = strides_of(x.dims());
  const std::int64_t step = strides[axis];
  strides[axis] = 0;
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    walk<1>(y.dims(), {strides}, [&](std::int64_t i, const auto& at) {
      dst[i] = src[at[0] + checked_index(args.node, indices[i], x.dim(axis)) * step];
    });
  });
  return one(std::move(y));
}

std::size_t batch_dims(const Node& node, std::size_t x_rank, std::size_t indices_rank) {
  const std::int64_t batch = node.get_int("batch_dims", 0);
  if (x_rank == 0 || indices_rank == 0) fail(ErrorCode::kBadShape, node, "data and indices need a dimension");
  if (batch < 0 || batch >= static_cast<std::int64_t>(std::min(x_rank, indices_rank)))
    fail(ErrorCode::kBadAttribute, node, fmt::format("batch_dims is {}", batch));
  return static_cast<std::size_t>(batch);
}

std::vector<TensorType> gather_nd_shape(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &indices = args.inputs[1];
  if (indices.dtype != DType::undefined && indices.dtype != DType::s64) fail_type(args.node, 1, indices.dtype);
  if (!x.shape || !indices.shape) return {{x.dtype, std::nullopt}};
  const std::size_t batch = batch_dims(args.node, x.shape->size(), indices.shape->size());
  for (std::size_t i = 0; i < batch; ++i) merge(args.node, (*x.shape)[i], (*indices.shape)[i]);
  const Dim& last = indices.shape->back();
  if (!last.fixed()) return {{x.dtype, std::nullopt}};
  if (last.value < 1 || last.value > static_cast<std::int64_t>(x.shape->size() - batch))
    fail(ErrorCode::kBadShape, args.node, fmt::format("indices name {} axes of {}", last.value, to_string(*x.shape)));
  Shape shape(indices.shape->begin(), indices.shape->end() - 1);
  shape.insert(shape.end(), x.shape->begin() + static_cast<std::ptrdiff_t>(batch) + last.value, x.shape->end());
  return {{x.dtype, shape}};
}

std::vector<Tensor> gather_nd(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &indices = args.inputs[1];
  const std::size_t batch = batch_dims(args.node, x.rank(), indices.rank());
  const auto named = static_cast<std::size_t>(indices.dim(indices.rank() - 1));
  Tensor y = make_output(args);
  const auto dst = y.mutable_bytes();
  if (dst.empty()) return one(std::move(y));
  const Dims strides = strides_of(x.dims());
  const auto places = indices.values<std::int64_t>();
  const std::size_t element = static_cast<std::size_t>(bits(x.dtype())) / 8;
  if (element == 0) fail_type(args.node, 0, x.dtype());
  const auto part = static_cast<std::size_t>(element_count(std::span(x.dims()).subspan(batch + named))) * element;
  const std::size_t batches = static_cast<std::size_t>(element_count(std::span(x.dims()).first(batch)));
  const std::size_t each = places.size() / named / batches;  // places of one batch
  const std::size_t stride = x.bytes().size() / batches;
  for (std::size_t i = 0; i < batches * each; ++i) {
    const std::int64_t offset = nd_offset(args.node, places.subspan(i * named, named), std::span(x.dims()).subspan(batch),
                                          std::span(strides).subspan(batch));
    std::memcpy(&dst[i * part], &x.bytes()[i / each * stride + static_cast<std::size_t>(offset) * element], part);
  }
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> gather_operators() {
  return {
      {.op_type = "Gather", .min_inputs = 2, .max_inputs = 2, .shape = gather_shape, .reference = small_in_bytes<gather>},
      {.op_type = "GatherElements",
       .since = 11,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = gather_elements_shape,
       .reference = small_in_bytes<gather_elements>},
      {.op_type = "GatherND",
       .since = 11,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = gather_nd_shape,
       .reference = small_in_bytes<gather_nd>},
  };
}

}  // namespace zeropoint::ops
