// Pad: pads by attribute (opset 2) or input (opset 11), for all axes or those of the input `axes` (opset 18). Modes constant,
// reflect, edge, wrap; negative pads cut.
#include <fmt/format.h>

#include <cstring>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

struct Pads {
  Dims begin, end;
};

std::optional<Pads> read_pads(const ShapeArgs& args, std::size_t rank) {
  const IntsArgument pads = ints_argument(args, "pads", 1);
  if (!pads.given) fail(ErrorCode::kBadAttribute, args.node, "pads are missing");
  std::vector<std::int64_t> axes(rank);
  for (std::size_t i = 0; i < rank; ++i) axes[i] = static_cast<std::int64_t>(i);
  if (!args.node.input(3).empty()) {
    const auto given = known_ints(args, 3);
    if (!given) return std::nullopt;
    axes = *given;
  }
  if (!pads.values) return std::nullopt;
  if (pads.values->size() != 2 * axes.size())
    fail(ErrorCode::kBadAttribute, args.node, fmt::format("{} pads for {} axes", pads.values->size(), axes.size()));
  Pads result{Dims(rank, 0), Dims(rank, 0)};
  normalize_axes(args.node, axes, rank);  // none twice
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const std::size_t axis = normalize_axis(args.node, axes[i], rank);
    for (const std::int64_t pad : {(*pads.values)[i], (*pads.values)[i + axes.size()]})
      if (pad < -(std::int64_t{1} << 40) || pad > std::int64_t{1} << 40)
        fail(ErrorCode::kBadAttribute, args.node, fmt::format("a pad of {}", pad));
    result.begin[axis] = (*pads.values)[i];
    result.end[axis] = (*pads.values)[i + axes.size()];
  }
  return result;
}

std::vector<TensorType> pad_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  const std::string mode = args.node.get_string("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap")
    fail(ErrorCode::kBadAttribute, args.node, "mode is '" + mode + "'");
  same_dtype(args.node, x.dtype, args.inputs[2].dtype);
  if (!x.shape) return {{x.dtype, std::nullopt}};
  const auto pads = read_pads(args, x.shape->size());
  if (!pads) return {{x.dtype, unknown_shape(x.shape->size())}};
  Shape shape = *x.shape;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (pads->begin[i] == 0 && pads->end[i] == 0) continue;
    if (!shape[i].fixed()) {
      shape[i] = Dim();
      continue;
    }
    const std::int64_t size = shape[i].value + pads->begin[i] + pads->end[i];
    const std::int64_t most = std::max(pads->begin[i], pads->end[i]);
    if (size < 0 || (mode == "reflect" && most > 0 && most >= shape[i].value) ||
        (mode != "constant" && most > 0 && shape[i].value == 0))
      fail(ErrorCode::kBadShape, args.node,
           fmt::format("pads {} and {} in mode {} do not fit a dimension of {}", pads->begin[i], pads->end[i], mode,
                       shape[i].value));
    shape[i] = Dim(size);
  }
  return {{x.dtype, shape}};
}

// Where in [0, size) output position p - begin takes its value; -1: outside.
std::int64_t source(std::int64_t position, std::int64_t size, const std::string& mode) {
  if (position >= 0 && position < size) return position;
  if (mode == "constant") return -1;
  if (mode == "edge") return position < 0 ? 0 : size - 1;
  if (mode == "wrap") return ((position % size) + size) % size;
  return position < 0 ? -position : 2 * (size - 1) - position;  // reflect: the border itself is not repeated
}

std::vector<Tensor> pad(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const std::string mode = args.node.get_string("mode", "constant");
  std::vector<TensorType> types = {{x.dtype(), to_shape(x.dims())}, {}, {}, {}};
  std::vector<const Tensor*> constants;
  for (std::size_t i = 0; i < 4; ++i) constants.push_back(args.inputs[i].defined() ? &args.inputs[i] : nullptr);
  const Pads pads = *read_pads({args.node, args.opset, types, constants}, x.rank());

  Tensor filler(x.dtype(), {});
  if (args.inputs[2].defined()) {
    if (args.inputs[2].size() != 1) fail(ErrorCode::kBadShape, args.node, "constant_value is not a scalar");
    filler = args.inputs[2];
  } else if (const float value = args.node.get_float("value", 0); value != 0) {
    if (x.dtype() == DType::f32)
      filler = Tensor::scalar(value);
    else if (x.dtype() == DType::f64)
      filler = Tensor::scalar(static_cast<double>(value));
    else if (x.dtype() == DType::f16 || x.dtype() == DType::bf16)
      filler = narrowed(Tensor::scalar(value), x.dtype());
    else
      fail_type(args.node, 0, x.dtype());  // opset 2 pads floats only
  }

  Tensor y = make_output(args);
  const Dims strides = strides_of(x.dims());
  // Along each axis: the input offset of every output position, or -1.
  std::vector<Dims> offsets(x.rank());
  for (std::size_t axis = 0; axis < x.rank(); ++axis)
    for (std::int64_t p = 0; p < y.dim(axis); ++p) {
      const std::int64_t from = source(p - pads.begin[axis], x.dim(axis), mode);
      offsets[axis].push_back(from < 0 ? -1 : from * strides[axis]);
    }
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    const W fill = words<W>(filler)[0];
    Dims index(x.rank(), 0);
    for (std::int64_t i = 0; i < y.size(); ++i) {
      std::int64_t at = 0;
      for (std::size_t axis = 0; axis < x.rank() && at >= 0; ++axis) {
        const std::int64_t offset = offsets[axis][index[axis]];
        at = offset < 0 ? -1 : at + offset;
      }
      dst[i] = at < 0 ? fill : src[at];
      for (std::size_t axis = x.rank(); axis-- > 0 && ++index[axis] == y.dim(axis);) index[axis] = 0;
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> pad_operators() {
  return {
      {.op_type = "Pad", .since = 2, .min_inputs = 1, .max_inputs = 4, .shape = pad_shape, .reference = small_in_bytes<pad>}};
}

}  // namespace zeropoint::ops
