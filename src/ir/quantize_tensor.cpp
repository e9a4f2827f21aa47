#include "zeropoint/quantize_tensor.h"

#include <algorithm>
#include <string>
#include <vector>

#include "numerics/quantize.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

// A tensor seen along the axis of its parameters: [outer, axis, inner]; `group` neighbours on the axis share parameters.
struct Layout {
  std::int64_t outer = 1, axis = 1, inner = 1;
  std::int64_t group = 1;
  bool one_per_inner = false;  // groups have parameters for each (outer, inner); channels share theirs over them
  std::int64_t groups() const { return (axis + group - 1) / group; }
  std::int64_t parameter(std::int64_t o, std::int64_t a, std::int64_t i) const {
    return one_per_inner ? (o * groups() + a / group) * inner + i : a / group;
  }
};

std::size_t checked_axis(const Dims& dims, int axis) {
  const int rank = static_cast<int>(dims.size());
  const int positive = axis < 0 ? axis + rank : axis;
  if (positive < 0 || positive >= rank)
    throw Error(ErrorCode::kBadArgument, "", "axis " + std::to_string(axis) + " is not one of a tensor of " + to_string(dims));
  return static_cast<std::size_t>(positive);
}

Layout layout_of(const Dims& dims, const Granularity& granularity) {
  Layout layout;
  if (std::holds_alternative<PerTensor>(granularity)) {
    layout.axis = layout.group = element_count(dims);
    layout.group = std::max<std::int64_t>(layout.group, 1);
    return layout;
  }
  const auto* channel = std::get_if<PerChannel>(&granularity);
  const auto* group = std::get_if<PerGroup>(&granularity);
  const std::size_t axis = checked_axis(dims, channel ? channel->axis : group->axis);
  layout.outer = element_count(std::span(dims).first(axis));
  layout.axis = dims[axis];
  layout.inner = element_count(std::span(dims).subspan(axis + 1));
  if (group) {
    if (group->size < 1) throw Error(ErrorCode::kBadArgument, "", "a group has " + std::to_string(group->size) + " elements");
    layout.group = group->size;
    layout.one_per_inner = true;
  }
  return layout;
}

void check_parameters(const Dims& dims, const QParams& qparams) {
  const std::int64_t expected = element_count(scale_dims(dims, qparams.granularity));
  if (static_cast<std::int64_t>(qparams.scale.size()) != expected || qparams.zero_point.size() != qparams.scale.size())
    throw Error(ErrorCode::kBadShape, "",
                std::to_string(qparams.scale.size()) + " scales and " + std::to_string(qparams.zero_point.size()) +
                    " zero points for a tensor of " + to_string(dims) + ", which takes " + std::to_string(expected));
}

// Calls visit(element, parameter) in the order of memory.
template <class Visit>
void for_each(const Layout& layout, Visit visit) {
  std::int64_t element = 0;
  for (std::int64_t o = 0; o < layout.outer; ++o)
    for (std::int64_t a = 0; a < layout.axis; ++a)
      for (std::int64_t i = 0; i < layout.inner; ++i, ++element)
        visit(static_cast<std::size_t>(element), static_cast<std::size_t>(layout.parameter(o, a, i)));
}

template <class T>
void quantize_into(Tensor& q, std::span<const float> x, const Layout& layout, const QParams& qparams, numerics::Limits limits) {
  const std::span<T> values = q.mutable_values<T>();
  for_each(layout, [&](std::size_t e, std::size_t p) {
    values[e] = static_cast<T>(numerics::quantize(x[e], qparams.scale[p], qparams.zero_point[p], limits));
  });
}

template <class T>
void dequantize_into(std::span<float> x, const Tensor& q, const Layout& layout, const QParams& qparams) {
  const std::span<const T> values = q.values<T>();
  for_each(layout, [&](std::size_t e, std::size_t p) {
    x[e] = numerics::dequantize(static_cast<std::int32_t>(values[e]), qparams.scale[p], qparams.zero_point[p]);
  });
}

}  // namespace

IntegerLimits limits_of_bits(int bits, bool is_signed, bool symmetric) {
  if (bits < 2 || bits > 16)
    throw Error(ErrorCode::kBadArgument, "", std::to_string(bits) + " bits: integers of 2 to 16 bits are supported");
  const std::int32_t half = std::int32_t{1} << (bits - 1);
  if (symmetric) return {-(half - 1), half - 1};
  if (is_signed) return {-half, half - 1};
  return {0, 2 * half - 1};
}

IntegerLimits limits_of(DType dtype) {
  if (!is_integer(dtype) || bits(dtype) > 16)
    throw Error(ErrorCode::kBadType, "", std::string(name(dtype)) + " is not an integer type of 2 to 16 bits");
  return {static_cast<std::int32_t>(lowest(dtype)), static_cast<std::int32_t>(highest(dtype))};
}

IntegerLimits limits_of(const QParams& qparams) {
  return qparams.bits == 0 ? limits_of(qparams.dtype) : limits_of_bits(qparams.bits, lowest(qparams.dtype) < 0, false);
}

IntegerLimits limits_of_weight(const QParams& qparams) {
  const bool symmetric = lowest(qparams.dtype) < 0 && std::all_of(
                                                          qparams.zero_point.begin(), qparams.zero_point.end(),
                                                          [](std::int32_t zero_point) { return zero_point == 0; });
  const int width = qparams.bits == 0 ? bits(qparams.dtype) : qparams.bits;
  return symmetric ? limits_of_bits(width, true, true) : limits_of(qparams);
}

Dims scale_dims(const Dims& dims, const Granularity& granularity) {
  if (const auto* channel = std::get_if<PerChannel>(&granularity)) return {dims[checked_axis(dims, channel->axis)]};
  if (const auto* group = std::get_if<PerGroup>(&granularity)) {
    const std::size_t axis = checked_axis(dims, group->axis);
    Dims result = dims;
    result[axis] = layout_of(dims, granularity).groups();
    return result;
  }
  return {};
}

Tensor quantize_tensor(const Tensor& x, const QParams& qparams, std::optional<IntegerLimits> limits) {
  const IntegerLimits of_type = limits_of(qparams.dtype);
  const IntegerLimits chosen = limits.value_or(limits_of(qparams));
  if (chosen.low < of_type.low || chosen.high > of_type.high || chosen.low >= chosen.high)
    throw Error(ErrorCode::kBadArgument, "",
                "limits " + std::to_string(chosen.low) + " ... " + std::to_string(chosen.high) + " don't lie in " +
                    std::string(name(qparams.dtype)));
  check_parameters(x.dims(), qparams);
  const Layout layout = layout_of(x.dims(), qparams.granularity);
  const numerics::Limits range{chosen.low, chosen.high};
  const std::span<const float> values = x.values<float>();
  Tensor q(qparams.dtype, x.dims());
  switch (qparams.dtype) {
    case DType::u8:
      quantize_into<std::uint8_t>(q, values, layout, qparams, range);
      break;
    case DType::s8:
      quantize_into<std::int8_t>(q, values, layout, qparams, range);
      break;
    case DType::u16:
      quantize_into<std::uint16_t>(q, values, layout, qparams, range);
      break;
    case DType::s16:
      quantize_into<std::int16_t>(q, values, layout, qparams, range);
      break;
    default: {  // 2 and 4 bits: packed, first element lowest
      const std::size_t width = static_cast<std::size_t>(bits(qparams.dtype)), mask = (std::size_t{1} << width) - 1;
      const std::span<std::byte> bytes = q.mutable_bytes();
      for_each(layout, [&](std::size_t e, std::size_t p) {
        const std::int32_t value = numerics::quantize(values[e], qparams.scale[p], qparams.zero_point[p], range);
        bytes[e * width / 8] |= static_cast<std::byte>((static_cast<std::size_t>(value) & mask) << (e * width % 8));
      });
    }
  }
  return q;
}

Tensor dequantize_tensor(const Tensor& q, const QParams& qparams) {
  if (q.dtype() != qparams.dtype)
    throw Error(ErrorCode::kBadType, "",
                "a tensor of " + std::string(name(q.dtype())) + " with parameters of " + std::string(name(qparams.dtype)));
  check_parameters(q.dims(), qparams);
  const Layout layout = layout_of(q.dims(), qparams.granularity);
  Tensor x(DType::f32, q.dims());
  const std::span<float> values = x.mutable_values<float>();
  switch (q.dtype()) {
    case DType::u8:
      dequantize_into<std::uint8_t>(values, q, layout, qparams);
      break;
    case DType::s8:
      dequantize_into<std::int8_t>(values, q, layout, qparams);
      break;
    case DType::u16:
      dequantize_into<std::uint16_t>(values, q, layout, qparams);
      break;
    case DType::s16:
      dequantize_into<std::int16_t>(values, q, layout, qparams);
      break;
    case DType::s32: {  // biases
      const std::span<const std::int32_t> sums = q.values<std::int32_t>();
      for_each(layout, [&](std::size_t e, std::size_t p) {
        values[e] = numerics::dequantize(sums[e], qparams.scale[p], qparams.zero_point[p]);
      });
      break;
    }
    default: {
      const IntegerLimits limits = limits_of(q.dtype());
      const std::size_t width = static_cast<std::size_t>(bits(q.dtype())), mask = (std::size_t{1} << width) - 1;
      const std::span<const std::byte> bytes = q.bytes();
      for_each(layout, [&](std::size_t e, std::size_t p) {
        auto value = static_cast<std::int32_t>((static_cast<std::size_t>(bytes[e * width / 8]) >> (e * width % 8)) & mask);
        if (value > limits.high) value -= std::int32_t{1} << width;  // the sign
        values[e] = numerics::dequantize(value, qparams.scale[p], qparams.zero_point[p]);
      });
    }
  }
  return x;
}

}  // namespace zeropoint
