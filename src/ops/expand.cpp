// Expand (numpy's broadcasting with a shape, both ways) and Tile.
#include <fmt/format.h>

#include <algorithm>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> expand_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  const auto target = known_shape(args, 1);
  if (!target) return {{x.dtype, std::nullopt}};
  return {{x.dtype, broadcast(args.node, *x.shape, *target)}};
}

std::vector<Tensor> expand(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    walk<1>(y.dims(), {broadcast_strides(x.dims(), y.dims())}, [&](std::int64_t i, const auto& at) { dst[i] = src[at[0]]; });
  });
  return one(std::move(y));
}

std::vector<TensorType> tile_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  Shape shape = unknown_shape(x.shape->size());
  if (const auto repeats = known_ints(args, 1)) {
    if (repeats->size() != shape.size())
      fail(ErrorCode::kBadShape, args.node, fmt::format("{} repeats for {} axes", repeats->size(), shape.size()));
    for (std::size_t i = 0; i < shape.size(); ++i) {
      const std::int64_t repeat = (*repeats)[i];
      const std::int64_t most = (std::int64_t{1} << 46) / std::max<std::int64_t>(1, (*x.shape)[i].value);
      if (repeat < 0 || repeat > most) fail(ErrorCode::kBadShape, args.node, fmt::format("{} repeats", repeat));
      if ((*x.shape)[i].fixed())
        shape[i] = Dim((*x.shape)[i].value * repeat);
      else if (repeat == 1)
        shape[i] = (*x.shape)[i];
    }
  }
  return {{x.dtype, shape}};
}

std::vector<Tensor> tile(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  const Dims strides = strides_of(x.dims());
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    Dims index(x.rank(), 0);
    for (std::int64_t i = 0; i < y.size(); ++i) {
      std::int64_t at = 0;
      for (std::size_t axis = 0; axis < x.rank(); ++axis) at += index[axis] % x.dim(axis) * strides[axis];
      dst[i] = src[at];
      for (std::size_t axis = x.rank(); axis-- > 0 && ++index[axis] == y.dim(axis);) index[axis] = 0;
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> expand_operators() {
  return {
      {.op_type = "Expand",
       .since = 8,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = expand_shape,
       .reference = small_in_bytes<expand>},
      {.op_type = "Tile", .since = 6, .min_inputs = 2, .max_inputs = 2, .shape = tile_shape, .reference = small_in_bytes<tile>},
  };
}

}  // namespace zeropoint::ops
