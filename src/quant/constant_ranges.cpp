#include "quant/constant_ranges.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "numerics/quantize.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace quant {
namespace {

struct Method {
  std::string_view name;
  ConstantRange range;
};
constexpr Method kMethods[] = {{"min_max", &constant_range_min_max}, {"mse", &constant_range_mse}};

// Index of element e's parameter; see scale_dims.
template <class Visit>
void visit_parameters(const Dims& dims, const Granularity& granularity, Visit visit) {
  const auto* channel = std::get_if<PerChannel>(&granularity);
  const auto* group = std::get_if<PerGroup>(&granularity);
  const std::int64_t count = element_count(dims);
  if (!channel && !group) {
    for (std::int64_t e = 0; e < count; ++e) visit(e, std::int64_t{0});
    return;
  }
  const int named = channel ? channel->axis : group->axis;
  const std::size_t axis = static_cast<std::size_t>(named < 0 ? named + static_cast<int>(dims.size()) : named);
  const std::int64_t length = dims[axis], inner = element_count(std::span(dims).subspan(axis + 1));
  const std::int64_t groups = group ? scale_dims(dims, granularity)[axis] : 0;
  for (std::int64_t e = 0; e < count; ++e) {
    const std::int64_t along = e / inner % length;
    visit(e, channel ? along : (e / (inner * length) * groups + along / group->size) * inner + e % inner);
  }
}

}  // namespace

ConstantRange find_constant_range(std::string_view method) {
  for (const Method& candidate : kMethods)
    if (candidate.name == method) return candidate.range;
  return nullptr;
}

std::vector<std::vector<float>> split_by_parameter(const Tensor& x, const Granularity& granularity) {
  const Dims parameters = scale_dims(x.dims(), granularity);
  std::vector<std::vector<float>> parts(static_cast<std::size_t>(element_count(parameters)));
  const std::span<const float> values = x.values<float>();
  for (std::vector<float>& part : parts) part.reserve(values.size() / parts.size() + 1);
  visit_parameters(x.dims(), granularity, [&](std::int64_t e, std::int64_t p) {
    parts[static_cast<std::size_t>(p)].push_back(values[static_cast<std::size_t>(e)]);
  });
  return parts;
}

namespace {

void check_finite(const Tensor& x) {
  const std::span<const float> values = x.values<float>();
  const auto bad = std::find_if_not(values.begin(), values.end(), [](float value) { return std::isfinite(value); });
  if (bad != values.end())
    throw Error(ErrorCode::kNonFinite, "",
                "element " + std::to_string(bad - values.begin()) + " is " + std::to_string(*bad) +
                    ", which cannot be quantized; clean the values first");
}

std::vector<ScaleZeroPoint> choose_scales(const Tensor& x, const Granularity& granularity, const std::string& method,
                                          const Levels& levels) {
  const ConstantRange range = find_constant_range(method);
  if (!range) throw Error(ErrorCode::kBadArgument, "", "no range method for constants is called '" + method + "'");
  check_finite(x);
  std::vector<ScaleZeroPoint> result;
  for (const std::vector<float>& part : split_by_parameter(x, granularity))
    result.push_back(levels.scale_of(range(part, levels)));
  return result;
}

QParams to_qparams(std::span<const ScaleZeroPoint> chosen, DType dtype, const Granularity& granularity) {
  QParams qparams{dtype, granularity, {}, {}};
  for (const ScaleZeroPoint& each : chosen) {
    qparams.scale.push_back(each.scale);
    qparams.zero_point.push_back(each.zero_point);
  }
  return qparams;
}

}  // namespace
}  // namespace quant

QParams choose_qparams(const Tensor& x, const Scheme& scheme) {
  QParams qparams = quant::to_qparams(quant::choose_scales(x, scheme.granularity, scheme.range, quant::levels_of(scheme)),
                                      scheme.dtype, scheme.granularity);
  qparams.bits = scheme.bits;
  return qparams;
}

const std::vector<std::string>& weight_range_methods() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> result;
    for (const quant::Method& method : quant::kMethods) result.emplace_back(method.name);
    return result;
  }();
  return names;
}

QuantizedTensor quantize_tensor(const Tensor& x, const TensorScheme& scheme) {
  const bool is_signed = scheme.is_signed || scheme.symmetric;
  const IntegerLimits limits = limits_of_bits(scheme.bits, is_signed, scheme.symmetric);
  const DType dtype = scheme.bits <= 8 ? (is_signed ? DType::s8 : DType::u8) : (is_signed ? DType::s16 : DType::u16);
  const std::vector<ScaleZeroPoint> chosen =
      quant::choose_scales(x, scheme.granularity, scheme.range, {.limits = limits, .symmetric = scheme.symmetric});
  QuantizedTensor result;
  result.qparams = quant::to_qparams(chosen, dtype, scheme.granularity);
  if (!scheme.real_zero_point) {
    result.q = quantize_tensor(x, result.qparams, limits);
    return result;
  }
  for (const ScaleZeroPoint& each : chosen) result.real_zero_point.push_back(each.real_zero_point);
  result.q = Tensor(dtype, x.dims());
  const std::span<const float> values = x.values<float>();
  const std::span<std::byte> bytes = result.q.mutable_bytes();
  const float low = static_cast<float>(limits.low), high = static_cast<float>(limits.high);
  quant::visit_parameters(x.dims(), scheme.granularity, [&](std::int64_t element, std::int64_t parameter) {
    const auto e = static_cast<std::size_t>(element);
    const ScaleZeroPoint& p = chosen[static_cast<std::size_t>(parameter)];
    const float clamped = std::clamp(values[e] / p.scale + p.real_zero_point, low, high);
    const auto q = static_cast<std::int32_t>(numerics::round_half_even(clamped));
    if (scheme.bits <= 8) {
      bytes[e] = static_cast<std::byte>(q & 0xFF);
    } else {  // little-endian, as all tensors
      bytes[2 * e] = static_cast<std::byte>(q & 0xFF);
      bytes[2 * e + 1] = static_cast<std::byte>((q >> 8) & 0xFF);
    }
  });
  return result;
}

Tensor dequantize_tensor(const QuantizedTensor& quantized) {
  if (quantized.real_zero_point.empty()) return dequantize_tensor(quantized.q, quantized.qparams);
  QParams no_zero_point = quantized.qparams;  // q - 0 first, then the real zero point in fp32
  no_zero_point.zero_point.assign(no_zero_point.scale.size(), 0);
  no_zero_point.scale.assign(no_zero_point.scale.size(), 1.0F);
  Tensor x = dequantize_tensor(quantized.q, no_zero_point);
  const std::span<float> values = x.mutable_values<float>();
  quant::visit_parameters(x.dims(), quantized.qparams.granularity, [&](std::int64_t element, std::int64_t parameter) {
    const auto e = static_cast<std::size_t>(element), p = static_cast<std::size_t>(parameter);
    values[e] = quantized.qparams.scale[p] * (values[e] - quantized.real_zero_point[p]);
  });
  return x;
}

}  // namespace zeropoint
