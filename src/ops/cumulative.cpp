// CumSum and CumProd along an axis: of all elements up to this one, itself too unless `exclusive`; from the end with `reverse`.
// Integers wrap around.
#include <type_traits>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> cumulative_shape(const ShapeArgs& args) {
  const auto axis = known_ints(args, 1);
  if (axis && axis->size() != 1) fail(ErrorCode::kBadShape, args.node, "axis is not one number");
  if (axis && args.inputs[0].shape) normalize_axis(args.node, (*axis)[0], args.inputs[0].shape->size());
  return {args.inputs[0]};
}

template <bool product>
std::vector<Tensor> cumulative(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const std::size_t axis = normalize_axis(args.node, ints(args.inputs[1]).at(0), x.rank());
  const bool exclusive = args.node.get_int("exclusive", 0) != 0, reverse = args.node.get_int("reverse", 0) != 0;
  const std::int64_t length = x.dim(axis), inner = element_count(std::span(x.dims()).subspan(axis + 1));
  const std::int64_t outer = element_count(std::span(x.dims()).first(axis));
  Tensor y = make_output(args);
  with_numbers(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    const auto combine = [](T a, T b) {
      if constexpr (std::is_integral_v<T>) {
        const auto p = static_cast<std::uint64_t>(a), q = static_cast<std::uint64_t>(b);
        return static_cast<T>(product ? p * q : p + q);
      } else {
        return product ? a * b : a + b;
      }
    };
    for (std::int64_t row = 0; row < outer * inner; ++row) {
      const std::int64_t start = row / inner * inner * length + row % inner;
      T total = product ? 1 : 0;
      for (std::int64_t k = 0; k < length; ++k) {
        const std::int64_t at = start + (reverse ? length - 1 - k : k) * inner;
        const T next = combine(total, src[at]);
        dst[at] = exclusive ? total : next;
        total = next;
      }
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> cumulative_operators() {
  return {
      {.op_type = "CumSum",
       .since = 11,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = cumulative_shape,
       .reference = half_in_f32<cumulative<false>>},
      {.op_type = "CumProd",
       .since = 26,
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = cumulative_shape,
       .reference = half_in_f32<cumulative<true>>},
  };
}

}  // namespace zeropoint::ops
