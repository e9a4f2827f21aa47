// ArgMax, ArgMin, TopK, Hardmax: places of extreme values along an axis. NaN counts as larger than every number, as in numpy;
// of equal values the first counts, with select_last_index the last.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// A tensor seen as rows along `axis`: element i of row r stands at start(r) + i * inner.
struct Rows {
  std::int64_t length = 1, inner = 1, count = 1;
  std::int64_t start(std::int64_t row) const { return row / inner * inner * length + row % inner; }
};
Rows rows_along(const Dims& dims, std::size_t axis) {
  Rows rows;
  rows.length = dims[axis];
  rows.inner = element_count(std::span(dims).subspan(axis + 1));
  rows.count = element_count(std::span(dims).first(axis)) * rows.inner;
  return rows;
}

// Whether a stands before b. NaN is the largest.
template <class T>
bool above(T a, T b) {
  if (a != a || b != b) return a != a && b == b;
  return a > b;
}

// ---- ArgMax, ArgMin

std::vector<TensorType> arg_shape(const ShapeArgs& args) {
  const auto& x = args.inputs[0].shape;
  if (!x) return {{DType::s64, std::nullopt}};
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", 0), x->size());
  if ((*x)[axis].value == 0)
    fail(ErrorCode::kBadShape, args.node, fmt::format("axis {} of {} has no elements", axis, to_string(*x)));
  Shape shape = *x;
  if (args.node.get_int("keepdims", 1) != 0)
    shape[axis] = Dim(1);
  else
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
  return {{DType::s64, shape}};
}

template <bool largest>
std::vector<Tensor> arg_extreme(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const bool last = args.node.get_int("select_last_index", 0) != 0;
  const Rows rows = rows_along(x.dims(), normalize_axis(args.node, args.node.get_int("axis", 0), x.rank()));
  Tensor y = make_output(args);
  const auto dst = y.mutable_values<std::int64_t>();
  with_numbers(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    for (std::int64_t row = 0; row < rows.count; ++row) {
      const std::int64_t start = rows.start(row);
      std::int64_t best = 0;
      for (std::int64_t i = 1; i < rows.length; ++i) {
        const T value = src[start + i * rows.inner], so_far = src[start + best * rows.inner];
        // NaN wins in both.
        const bool better = largest || value != value || so_far != so_far ? above(value, so_far) : above(so_far, value);
        const bool equal = value == so_far || (value != value && so_far != so_far);
        if (better || (equal && last)) best = i;
      }
      dst[row] = best;
    }
  });
  return one(std::move(y));
}

// ---- TopK: k by attribute (opset 1) or input; `largest` and `sorted` from opset 11 on. Always gives them sorted.

std::vector<TensorType> top_k_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  std::optional<std::int64_t> k;
  if (args.node.find("k") != nullptr) {
    k = args.node.get_int("k", 0);
  } else if (args.node.input(1).empty()) {
    fail(ErrorCode::kBadAttribute, args.node, "k is missing");
  } else if (const auto given = known_ints(args, 1)) {
    if (given->size() != 1) fail(ErrorCode::kBadShape, args.node, "k is not one number");
    k = (*given)[0];
  }
  if (!x.shape) return {{x.dtype, std::nullopt}, {DType::s64, std::nullopt}};
  Shape shape = *x.shape;
  Dim& length = shape[normalize_axis(args.node, args.node.get_int("axis", -1), shape.size())];
  if (k && (*k < 0 || (length.fixed() && *k > length.value)))
    fail(ErrorCode::kBadShape, args.node, fmt::format("the first {} of {} elements", *k, length.value));
  length = k ? Dim(*k) : Dim();
  return {{x.dtype, shape}, {DType::s64, shape}};
}

std::vector<Tensor> top_k(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const bool largest = args.node.get_int("largest", 1) != 0;
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", -1), x.rank());
  const Rows rows = rows_along(x.dims(), axis);
  Tensor values = make_output(args, 0), indices = make_output(args, 1);
  const Rows results = rows_along(values.dims(), axis);
  const auto places = indices.mutable_values<std::int64_t>();
  std::vector<std::int64_t> order(static_cast<std::size_t>(rows.length));
  with_numbers(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = values.mutable_values<T>();
    for (std::int64_t row = 0; row < rows.count; ++row) {
      const auto value = [&](std::int64_t i) { return src[rows.start(row) + i * rows.inner]; };
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + results.length, order.end(), [&](std::int64_t i, std::int64_t j) {
        const T a = value(i), b = value(j);
        if (largest ? above(a, b) : above(b, a)) return true;
        if (largest ? above(b, a) : above(a, b)) return false;
        return i < j;
      });
      for (std::int64_t i = 0; i < results.length; ++i) {
        dst[results.start(row) + i * results.inner] = value(order[i]);
        places[results.start(row) + i * results.inner] = order[i];
      }
    }
  });
  return {std::move(values), std::move(indices)};
}

// ---- Hardmax: 1 at the first maximum, 0 elsewhere; before opset 13 over all axes from `axis` on taken as one row

std::vector<TensorType> hardmax_shape(const ShapeArgs& args) {
  if (args.inputs[0].shape)
    normalize_axis(args.node, args.node.get_int("axis", args.opset < 13 ? 1 : -1), args.inputs[0].shape->size());
  return {args.inputs[0]};
}

std::vector<Tensor> hardmax(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const std::size_t axis = normalize_axis(args.node, args.node.get_int("axis", args.opset < 13 ? 1 : -1), x.rank());
  const Dims flat = {element_count(std::span(x.dims()).first(axis)), element_count(std::span(x.dims()).subspan(axis))};
  const Rows rows = args.opset < 13 ? rows_along(flat, 1) : rows_along(x.dims(), axis);
  Tensor y = make_output(args);
  if (y.size() == 0) return one(std::move(y));
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    for (std::int64_t row = 0; row < rows.count; ++row) {
      std::int64_t best = rows.start(row);
      for (std::int64_t i = 1; i < rows.length; ++i)
        if (const std::int64_t at = rows.start(row) + i * rows.inner; above(src[at], src[best])) best = at;
      dst[best] = 1;
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> top_k_operators() {
  return {
      {.op_type = "ArgMax", .shape = arg_shape, .reference = half_in_f32<arg_extreme<true>>},
      {.op_type = "ArgMin", .shape = arg_shape, .reference = half_in_f32<arg_extreme<false>>},
      {.op_type = "TopK", .min_inputs = 1, .max_inputs = 2, .shape = top_k_shape, .reference = half_in_f32<top_k>},
      {.op_type = "Hardmax", .shape = hardmax_shape, .reference = half_in_f32<hardmax>},
  };
}

}  // namespace zeropoint::ops
