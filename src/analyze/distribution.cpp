#include "analyze/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <tuple>
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

// Of 2 to 16 bits.
std::optional<std::int32_t> integer(const Tensor& tensor) {
  const DType dtype = tensor.dtype();
  if (!is_integer(dtype) || bits(dtype) > 16) return std::nullopt;
  const Tensor plain = dequantize_tensor(tensor, {.dtype = dtype, .granularity = PerTensor{}, .scale = {1}, .zero_point = {0}});
  return static_cast<std::int32_t>(plain.values<float>()[0]);
}

// Levels that a Clip right before the quantizer leaves of those of its type, in bits (insert_qdq); 0: it leaves all, or no such
// number.
int bits_of_clip(const Graph& graph, const Node& clip, const QParams& qparams) {
  const Tensor *low = graph.constant(clip.input(1)), *high = graph.constant(clip.input(2));
  for (const Tensor* end : {low, high})
    if (!end || end->dtype() != DType::f32 || end->size() != 1) return 0;
  const auto level = [&](const Tensor& end) {
    return static_cast<double>(end.values<float>()[0]) / static_cast<double>(qparams.scale[0]) + qparams.zero_point[0];
  };
  constexpr double kRounding = 1e-3;  // of a level
  for (int width = 2; width < bits(qparams.dtype); ++width) {
    const IntegerLimits limits = limits_of_bits(width, lowest(qparams.dtype) < 0, false);
    if (std::abs(level(*low) - limits.low) < kRounding && std::abs(level(*high) - limits.high) < kRounding) return width;
  }
  return 0;
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
  std::map<std::string, const Node*> clips, clips_before;  // by what they make; by the integers behind them
  for (const Node& node : quantized.nodes) {
    if (node.is("Clip")) clips.emplace(node.outputs[0], &node);
    if (node.is("QuantizeLinear"))
      if (const auto clip = clips.find(node.input(0)); clip != clips.end()) clips_before.emplace(node.outputs[0], clip->second);
    if (!node.is("DequantizeLinear") || quantized.constant(node.input(0))) continue;
    const Tensor* scale = quantized.constant(node.input(1));
    const Tensor* zero_point = quantized.constant(node.input(2));
    if (!scale || !zero_point || scale->dtype() != DType::f32 || scale->size() != 1 || zero_point->size() != 1) continue;
    const std::optional<std::int32_t> zero = integer(*zero_point);
    if (!zero) continue;
    QParams& qparams = result[node.outputs[0]];
    qparams = {.dtype = zero_point->dtype(), .scale = {scale->values<float>()[0]}, .zero_point = {*zero}};
    if (const auto clip = clips_before.find(node.input(0)); clip != clips_before.end())
      qparams.bits = bits_of_clip(quantized, *clip->second, qparams);
  }
  // What only moves such values stands behind no Clip of its own.
  const auto key = [](const QParams& qparams) { return std::tuple(qparams.dtype, qparams.scale[0], qparams.zero_point[0]); };
  std::map<std::tuple<DType, float, std::int32_t>, int> few;
  for (const auto& [value, qparams] : result)
    if (qparams.bits != 0) few.emplace(key(qparams), qparams.bits);
  for (auto& [value, qparams] : result)
    if (const auto found = few.find(key(qparams)); found != few.end()) qparams.bits = found->second;
  return result;
}

}  // namespace zeropoint::analyze
