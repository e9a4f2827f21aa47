// Slice: starts, ends, axes by attribute (opset 1) or input with steps (opset 10); python's rules for negative and far indices.
#include "ops/slice.h"

#include <algorithm>

#include "ops/families.h"

namespace zeropoint::ops {

std::optional<std::vector<SliceAxis>> slice_axes(const ShapeArgs& args, const Shape& x) {
  const Node& node = args.node;
  const IntsArgument starts = ints_argument(args, "starts", 1), ends = ints_argument(args, "ends", 2),
                     axes = ints_argument(args, "axes", 3), steps = ints_argument(args, "steps", 4);
  if (!starts.given || !ends.given) fail(ErrorCode::kBadAttribute, node, "starts or ends are missing");
  if (!starts.values || !ends.values || !axes.values || !steps.values) return std::nullopt;
  const std::size_t count = starts.values->size();
  std::vector<std::int64_t> named = *axes.values;
  if (!axes.given)
    for (std::size_t i = 0; i < count; ++i) named.push_back(static_cast<std::int64_t>(i));
  const std::vector<std::int64_t> step = steps.given ? *steps.values : std::vector<std::int64_t>(count, 1);
  if (ends.values->size() != count || named.size() != count || step.size() != count)
    fail(ErrorCode::kBadAttribute, node, "starts, ends, axes and steps differ in length");
  normalize_axes(node, named, x.size());  // none twice

  std::vector<SliceAxis> result;
  for (std::size_t i = 0; i < count; ++i) {
    SliceAxis slice{normalize_axis(node, named[i], x.size()), 0, step[i], -1};
    if (slice.step == 0) fail(ErrorCode::kBadAttribute, node, "a step is 0");
    const Dim& dim = x[slice.axis];
    std::int64_t start = (*starts.values)[i], end = (*ends.values)[i];
    if (dim.fixed()) {
      const std::int64_t size = dim.value;
      const bool up = slice.step > 0;
      if (start < 0) start += size;
      if (end < 0) end += size;
      start = up ? std::clamp<std::int64_t>(start, 0, size)
                 : std::clamp<std::int64_t>(start, 0, std::max<std::int64_t>(size - 1, 0));
      end = up ? std::clamp<std::int64_t>(end, 0, size) : std::clamp<std::int64_t>(end, -1, size);
      const std::int64_t span = up ? end - start : start - end;
      const std::int64_t stride = up ? slice.step : slice.step == INT64_MIN ? INT64_MAX : -slice.step;
      slice.count = size == 0 || span <= 0 ? 0 : (span - 1) / stride + 1;
    }
    slice.start = start;
    result.push_back(slice);
  }
  return result;
}

namespace {

std::vector<TensorType> slice_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  const auto slices = slice_axes(args, *x.shape);
  if (!slices) return {{x.dtype, unknown_shape(x.shape->size())}};
  const IntsArgument ends = ints_argument(args, "ends", 2);
  Shape shape = *x.shape;
  for (std::size_t i = 0; i < slices->size(); ++i) {
    const SliceAxis& slice = (*slices)[i];
    // From 0 to the far end of an unknown dimension: all of it.
    if (slice.count < 0 && slice.start == 0 && slice.step == 1 && (*ends.values)[i] >= INT32_MAX) continue;
    shape[slice.axis] = slice.count < 0 ? Dim() : Dim(slice.count);
  }
  return {{x.dtype, shape}};
}

std::vector<Tensor> slice(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  std::vector<TensorType> types(5);
  types[0] = {x.dtype(), to_shape(x.dims())};
  std::vector<const Tensor*> constants;
  for (std::size_t i = 0; i < 5; ++i) constants.push_back(args.inputs[i].defined() ? &args.inputs[i] : nullptr);
  Tensor y = make_output(args);
  Dims strides = strides_of(x.dims());
  std::int64_t start = 0;
  const std::vector<SliceAxis> slices = *slice_axes({args.node, args.opset, types, constants}, *types[0].shape);
  for (const SliceAxis& axis : slices) {
    start += axis.start * strides[axis.axis];
    // A step past the axis is never taken, but its product could overflow.
    strides[axis.axis] = axis.count > 1 ? strides[axis.axis] * axis.step : 0;
  }
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    walk<1>(y.dims(), {strides}, [&](std::int64_t i, const auto& at) { dst[i] = src[at[0]]; }, {start});
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> slice_operators() {
  return {{.op_type = "Slice",
           .since = 1,
           .min_inputs = 1,
           .max_inputs = 5,
           .shape = slice_shape,
           .reference = small_in_bytes<slice>}};
}

}  // namespace zeropoint::ops
