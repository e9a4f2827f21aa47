// Transpose: output axis i is input axis perm[i]; the axes reversed without perm.
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<std::size_t> permutation(const Node& node, std::size_t rank) {
  std::vector<std::int64_t> perm = node.get_ints("perm");
  if (node.find("perm") == nullptr)
    for (std::size_t i = rank; i-- > 0;) perm.push_back(static_cast<std::int64_t>(i));
  if (perm.size() != rank || normalize_axes(node, perm, rank).size() != rank)
    fail(ErrorCode::kBadAttribute, node, "perm " + to_string(perm) + " does not permute " + std::to_string(rank) + " axes");
  std::vector<std::size_t> axes;
  for (const std::int64_t axis : perm) axes.push_back(normalize_axis(node, axis, rank));
  return axes;
}

std::vector<TensorType> transpose_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  Shape shape;
  for (const std::size_t axis : permutation(args.node, x.shape->size())) shape.push_back((*x.shape)[axis]);
  return {{x.dtype, shape}};
}

std::vector<Tensor> transpose(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  Tensor y = make_output(args);
  const Dims strides = strides_of(x.dims());
  Dims moved;
  for (const std::size_t axis : permutation(args.node, x.rank())) moved.push_back(strides[axis]);
  with_words(args.node, x.dtype(), [&]<class W>(W) {
    const auto src = words<W>(x);
    const auto dst = mutable_words<W>(y);
    walk<1>(y.dims(), {moved}, [&](std::int64_t i, const auto& at) { dst[i] = src[at[0]]; });
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> transpose_operators() {
  return {{.op_type = "Transpose", .shape = transpose_shape, .reference = small_in_bytes<transpose>}};
}

}  // namespace zeropoint::ops
