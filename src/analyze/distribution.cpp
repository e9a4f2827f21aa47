#include "analyze/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <utility>

#include "zeropoint/quantize_tensor.h"

namespace zeropoint::analyze {
namespace {

std::vector<std::uint64_t> equal_bins(const HistogramView& view) {
  if (view.empty()) return {};
  if (!(view.max() > view.min())) return {view.count()};
  const std::size_t bins = ValueDistribution::kBins;
  std::vector<std::uint64_t> counts;
  std::uint64_t before = 0;
  for (std::size_t i = 1; i <= bins; ++i) {  // sums are rounded, not bins: the counts add up
    const double edge = view.min() + (view.max() - view.min()) * static_cast<double>(i) / static_cast<double>(bins);
    const std::uint64_t below =
        i == bins ? view.count() : std::min(view.count(), static_cast<std::uint64_t>(std::llround(view.count_below(edge))));
    counts.push_back(std::max(below, before) - before);
    before = std::max(below, before);
  }
  return counts;
}

std::optional<std::int32_t> integer(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::u8:
      return tensor.values<std::uint8_t>()[0];
    case DType::s8:
      return tensor.values<std::int8_t>()[0];
    case DType::u16:
      return tensor.values<std::uint16_t>()[0];
    case DType::s16:
      return tensor.values<std::int16_t>()[0];
    default:
      return std::nullopt;
  }
}

}  // namespace

ValueDistribution distribution(const HistogramView& view, const QParams& qparams) {
  ValueDistribution result;
  result.count = view.count();
  result.min = view.min();
  result.max = view.max();
  result.histogram = equal_bins(view);
  result.dtype = qparams.dtype;
  result.scale = qparams.scale.front();
  result.zero_point = qparams.zero_point.front();
  const IntegerLimits limits = limits_of(qparams);
  result.low = result.scale * (static_cast<double>(limits.low) - result.zero_point);
  result.high = result.scale * (static_cast<double>(limits.high) - result.zero_point);
  if (result.count == 0) return result;
  const double half = result.scale / 2, all = static_cast<double>(view.count());
  double clipped = 0;  // a range that holds all has none, whatever the counts within a bin say
  if (view.min() < result.low - half) clipped += view.count_below(result.low - half);
  if (view.max() > result.high + half) clipped += all - view.count_below(result.high + half);
  result.clipped = std::clamp(clipped / all, 0.0, 1.0);
  return result;
}

std::vector<ValueDistribution> distributions(const Graph& graph, const QParamsMap& qparams, const Statistics& statistics) {
  std::vector<ValueDistribution> result;
  const auto add = [&](const std::string& value, const std::string& node) {
    const auto found = qparams.find(value);
    const ValueStatistics* seen = statistics.find(value);
    if (found == qparams.end() || !seen || found->second.scale.size() != 1) return;
    ValueDistribution one = distribution(seen->view(), found->second);
    one.value = value;
    one.node = node;
    result.push_back(std::move(one));
  };
  for (const ValueInfo& input : graph.inputs) add(input.name, "");
  for (const Node& node : graph.nodes)
    for (const std::string& output : node.outputs)
      if (!output.empty()) add(output, node.name.empty() ? output : node.name);
  return result;
}

QParamsMap activation_qparams(const Graph& quantized) {
  QParamsMap result;
  for (const Node& node : quantized.nodes) {
    if (!node.is("DequantizeLinear") || quantized.constant(node.input(0))) continue;
    const Tensor* scale = quantized.constant(node.input(1));
    const Tensor* zero_point = quantized.constant(node.input(2));
    if (!scale || !zero_point || scale->dtype() != DType::f32 || scale->size() != 1 || zero_point->size() != 1) continue;
    const std::optional<std::int32_t> zero = integer(*zero_point);
    if (!zero) continue;
    result[node.outputs[0]] = {.dtype = zero_point->dtype(), .scale = {scale->values<float>()[0]}, .zero_point = {*zero}};
  }
  return result;
}

}  // namespace zeropoint::analyze
