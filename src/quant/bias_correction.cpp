#include "zeropoint/bias_correction.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "quant/biases.h"
#include "quant/corrected_biases.h"
#include "quant/placement.h"
#include "zeropoint/error.h"
#include "zeropoint/quantize_tensor.h"

namespace zeropoint {
namespace {

constexpr std::int64_t kConvolutionChannels = 1, kMatrixChannels = -1;  // axes of an input, as calibrate_options asks for

// What is missing in each output on average: sum of (w - w_quantized) * mean; `chosen` are the weights that become integers.
std::vector<double> mean_errors(const Node& node, const Tensor& weight, const Tensor& chosen, const QParams& qparams,
                                const std::vector<double>& means) {
  const Tensor back = dequantize_tensor(quantize_tensor(chosen, qparams, limits_of_weight(qparams)), qparams);
  const auto exact = weight.values<float>(), rounded = back.values<float>();
  const auto error = [&](std::size_t i) { return static_cast<double>(exact[i]) - static_cast<double>(rounded[i]); };
  const auto dim = [&](std::size_t axis) { return static_cast<std::size_t>(weight.dim(axis)); };
  if (node.is("ConvTranspose")) {  // [I, O/groups, taps]; each output position sees one tap of every stride-th
    const auto groups = static_cast<std::size_t>(node.get_int("group", 1));
    const std::size_t inputs = dim(0), each = dim(1), taps = exact.size() / (inputs * each);
    if (means.size() != inputs)
      throw Error(ErrorCode::kMismatch, describe(node),
                  fmt::format("the statistics hold the means of {} channels of its input, which has {}", means.size(), inputs));
    double phases = 1;
    for (const std::int64_t stride : node.get_ints("strides")) phases *= static_cast<double>(stride);
    std::vector<double> missing(each * groups, 0.0);
    for (std::size_t i = 0; i < inputs; ++i)
      for (std::size_t o = 0; o < each; ++o) {
        double sum = 0;
        for (std::size_t t = 0; t < taps; ++t) sum += error((i * each + o) * taps + t);
        missing[i / (inputs / groups) * each + o] += sum * means[i] / phases;
      }
    return missing;
  }
  const bool output_first = node.is("Conv") || (node.is("Gemm") && node.get_int("transB", 0) != 0);  // [O,I,taps], else [I,O]
  const std::size_t outputs = dim(output_first ? 0 : 1), inputs = dim(output_first ? 1 : 0);
  const std::size_t taps = exact.size() / (outputs * inputs);
  const auto groups = node.is("Conv") ? static_cast<std::size_t>(node.get_int("group", 1)) : 1;
  if (means.size() != inputs * groups)
    throw Error(
        ErrorCode::kMismatch, describe(node),
        fmt::format("the statistics hold the means of {} channels of its input, which has {}", means.size(), inputs * groups));
  std::vector<double> missing(outputs, 0.0);
  for (std::size_t o = 0; o < outputs; ++o)
    for (std::size_t i = 0; i < inputs; ++i) {
      double sum = 0;
      for (std::size_t t = 0; t < taps; ++t) sum += error(output_first ? (o * inputs + i) * taps + t : i * outputs + o);
      missing[o] += sum * means[o / (outputs / groups) * inputs + i];
    }
  return missing;
}

// What was taken off.
struct Shifts {
  std::size_t layers = 0;
  double before = 0, after = 0;  // mean |shift| of a channel, summed over layers
};

// `original` has the weights before they were rounded, where a step did. Nodes that make `done` are left alone.
Graph corrected(Graph graph, const Graph& original, const QParamsMap& qparams, const Statistics& statistics,
                const std::set<std::string>& done, Shifts& shifts) {
  const Uses uses = find_uses(graph);
  const ValueIndex index(graph);
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node node = graph.nodes[n];
    const bool convolution = node.is("Conv") || node.is("ConvTranspose");
    if (!convolution && !node.is("Gemm") && !node.is("MatMul")) continue;
    if (done.contains(node.outputs[0])) continue;
    const Tensor* weight = graph.constant(node.input(1));
    const auto parameters = qparams.find(node.input(1));
    if (!weight || parameters == qparams.end() || !qparams.contains(node.input(0))) continue;
    const std::string bias = quant::bias_of(graph, index, uses, node);
    if (bias.empty() && node.is("MatMul")) continue;
    const ValueStatistics* seen = statistics.find(node.input(0));
    if (!seen || seen->channel_mean_sum.empty())
      throw Error(ErrorCode::kMismatch, describe(node),
                  fmt::format("bias correction needs the means of its input '{}' by channel, which the statistics don't hold; "
                              "calibrate for a recipe with this step",
                              node.input(0)));
    // A value that a Conv and a MatMul read along different axes has the means of one of them.
    const std::int64_t axis = convolution ? kConvolutionChannels : kMatrixChannels;
    if (seen->channel_axis != axis) continue;
    const Tensor* exact = original.constant(node.input(1));
    const std::vector<double> missing =
        mean_errors(node, exact ? *exact : *weight, *weight, parameters->second, seen->channel_means());
    double shift = 0, rest = 0;
    std::vector<float> values = quant::bias_values(graph, bias, missing.size());
    for (std::size_t o = 0; o < missing.size(); ++o) {
      const double sum = static_cast<double>(values[o]) + missing[o];
      values[o] = static_cast<float>(sum);
      shift += std::abs(missing[o]);
      rest += std::abs(sum - static_cast<double>(values[o]));
    }
    ++shifts.layers;
    shifts.before += shift / static_cast<double>(missing.size());
    shifts.after += rest / static_cast<double>(missing.size());
    quant::set_bias(graph, uses, n, bias, values);
  }
  remove_unused_values(graph);
  return graph;
}

}  // namespace

Graph correct_biases(Graph graph, const QParamsMap& qparams, const Statistics& statistics) {
  Shifts shifts;
  const Graph none;
  return corrected(std::move(graph), none, qparams, statistics, {}, shifts);
}

void quant::bias_correction_step(Rounding& rounding, const Step& step, const StepContext& context) {
  Shifts shifts;
  rounding.graph = corrected(std::move(rounding.graph), rounding.original, rounding.qparams, rounding.statistics,
                             rounding.corrected, shifts);
  if (shifts.layers == 0) return;
  const auto layers = static_cast<double>(shifts.layers);
  context.log.gains.push_back({step.name, fmt::format("output channels of {} layers", shifts.layers), "mean |shift|",
                               shifts.before / layers, shifts.after / layers});
}

}  // namespace zeropoint
