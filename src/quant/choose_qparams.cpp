#include "quant/choose_qparams.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <utility>

#include "quant/activation_ranges.h"
#include "quant/constant_ranges.h"
#include "quant/rule_matcher.h"
#include "quant/steps.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace quant {
namespace {

// Of the steps in which a bias of only zero weights is counted: as exact as fp32 itself.
constexpr double kBiasSteps = 1 << 24;

constexpr std::int32_t kLevelsToSpare = 32767;

Range hull(Range a, Range b) { return {std::min(a.min, b.min), std::max(a.max, b.max)}; }

// By the weights of all that read one of the group's values: ErrorGain. What others do to an error they do to all alike.
ErrorGain error_gain(const Graph& graph, const Uses& uses, const TieGroup& group) {
  ErrorGain gain{.independent = 0, .common = 0};
  for (const std::string& value : group.values) {
    const auto readers = uses.consumers.find(value);
    if (readers == uses.consumers.end()) continue;
    for (const std::size_t reader : readers->second) {
      const Node& node = graph.nodes[reader];
      const bool weighted = node.is("Conv") || node.is("ConvTranspose") || node.is("Gemm") || node.is("MatMul");
      const Tensor* weight = weighted && node.input(0) == value ? graph.constant(node.input(1)) : nullptr;
      if (!weight || weight->dtype() != DType::f32 || weight->rank() < 2) continue;
      for (const std::vector<float>& channel : split_by_parameter(*weight, PerChannel{channel_axis(node, *weight)})) {
        double sum = 0;
        for (const float w : channel) {
          sum += static_cast<double>(w);
          gain.independent += static_cast<double>(w) * static_cast<double>(w);
        }
        gain.common += sum * sum;
      }
    }
  }
  return gain.independent > 0 && gain.common > 0 ? gain : ErrorGain{};
}

QParams qparams_of_group(const TieGroup& group, const Statistics& statistics, const std::string& logits,
                         const ErrorGain& gain) {
  Range range;
  const ValueStatistics* of_rows = logits.empty() ? nullptr : statistics.find(logits);
  const std::span<const std::vector<float>> rows =
      of_rows ? std::span<const std::vector<float>>(of_rows->rows) : std::span<const std::vector<float>>();
  for (const std::string& value : group.sources) {
    const ValueStatistics* seen = statistics.find(value);
    if (!seen)
      throw Error(ErrorCode::kMismatch, fmt::format("value '{}'", value),
                  "the statistics hold nothing on it; calibrate with the values that the recipe needs (quantizable_values)");
    range = hull(range, choose_range(*seen, group.scheme, rows, gain));
  }
  Scheme scheme = group.scheme;
  // 16 bits have levels to spare: other samples may reach further than those seen, and one bit less of 16 costs nothing beside
  // the weights' 8.
  if (const IntegerLimits limits = limits_of(scheme); limits.high - limits.low >= kLevelsToSpare)
    range = {std::max(2 * range.min, -FLT_MAX), std::min(2 * range.max, FLT_MAX)};
  if (group.prefers_signed && range.min < 0) {
    scheme.dtype = DType::s8;
    scheme.symmetric = true;  // of as many bits
  }
  return choose_qparams(range, scheme);
}

void check_finite(const Graph& graph, const std::string& initializer, const Node& node) {
  for (const float value : graph.constant(initializer)->values<float>())
    if (!std::isfinite(value))
      throw Error(ErrorCode::kNonFinite, fmt::format("initializer '{}' of {}", initializer, describe(node)),
                  fmt::format("it holds {}, which cannot be quantized; repair the model or keep the node in float", value));
}

// By entry along the weight's channel axis; the largest where several output channels share one.
std::vector<double> bias_magnitudes(const Graph& graph, const ValueIndex& index, const Uses& uses, const Node& node,
                                    const Tensor& weight, std::size_t channels) {
  std::vector<double> result(channels, 0.0);
  const std::string name = bias_of(graph, index, uses, node);
  if (name.empty()) return result;
  check_finite(graph, name, node);
  const auto values = graph.constant(name)->values<float>();
  const auto outputs = static_cast<std::size_t>(output_channels(node, weight));
  for (std::size_t o = 0; o < outputs; ++o) {
    const auto c = static_cast<std::size_t>(parameter_of_channel(node, weight, static_cast<std::int64_t>(o)));
    result[c] = std::max(result[c], std::abs(static_cast<double>(values[values.size() == 1 ? 0 : o])));
  }
  return result;
}

// Chooses a weight's scales and widens them until every reader's sums fit.
QParams qparams_of_weight(const Graph& graph, const ValueIndex& index, const Uses& uses, const std::string& initializer,
                          const QuantizedWeight& weight, const QParamsMap& activations, std::vector<std::string>& notes) {
  const Tensor& values = *graph.constant(initializer);
  check_finite(graph, initializer, graph.nodes[weight.nodes.front()]);
  Scheme scheme = weight.scheme;
  const bool per_channel = std::holds_alternative<PerChannel>(scheme.granularity);
  if (per_channel) scheme.granularity = PerChannel{weight.axis};
  QParams qparams = choose_qparams(values, scheme);

  if (weight.use != WeightUse::sums) return qparams;

  // Sums of a ConvTranspose with groups are taken over all of them: more than any output has.
  const std::vector<std::vector<float>> channels = split_by_parameter(values, PerChannel{weight.axis});
  std::vector<double> sums(channels.size());
  for (std::size_t c = 0; c < channels.size(); ++c)
    for (const float value : channels[c]) sums[c] += std::abs(static_cast<double>(value));
  const auto products = static_cast<std::int64_t>(channels.front().size());

  std::vector<bool> only_zeros(qparams.scale.size(), true);
  for (std::size_t c = 0; c < sums.size(); ++c)
    if (sums[c] != 0) only_zeros[per_channel ? c : 0] = false;
  std::vector<double> least(qparams.scale.size(), 0.0), exact(qparams.scale.size(), 0.0);
  for (const std::size_t reader : weight.nodes) {
    const Node& node = graph.nodes[reader];
    const QParams& x = activations.at(node.input(0));
    const IntegerLimits limits = limits_of(x);
    // Sums of 16-bit values have 64 bits (docs/arithmetic.md): only the bias has to fit 32.
    const bool wide = bits(x.dtype) > 8 || bits(scheme.dtype) > 8;
    const std::vector<double> bias = bias_magnitudes(graph, index, uses, node, values, channels.size());
    for (std::size_t c = 0; c < channels.size(); ++c) {
      const std::size_t p = per_channel ? c : 0;
      least[p] = std::max(least[p], wide ? least_safe_scale(0, bias[c], 0, x.scale[0], 0)
                                         : least_safe_scale(sums[c], bias[c], products, x.scale[0], limits.high - limits.low));
      // The product of both scales must be a normal number too.
      least[p] = std::max(least[p], 2 * static_cast<double>(FLT_MIN) / static_cast<double>(x.scale[0]));
      exact[p] = std::max(exact[p], bias[c] / (static_cast<double>(x.scale[0]) * kBiasSteps));
    }
  }
  std::size_t widened = 0, first = 0;
  for (std::size_t p = 0; p < qparams.scale.size(); ++p) {
    float& scale = qparams.scale[p];
    if (only_zeros[p] && exact[p] > 0) scale = static_cast<float>(exact[p]);  // any scale fits the weights: the bias decides
    if (static_cast<double>(scale) >= least[p]) continue;
    scale = std::nextafter(static_cast<float>(least[p]), FLT_MAX);
    if (scheme.power_of_two) scale = raised_to_power_of_two(scale);
    if (!only_zeros[p] && widened++ == 0) first = p;
  }
  if (widened > 0)
    notes.push_back(fmt::format(
        "initializer '{}' of {}: the scale of {} {} was widened (first: channel {}), so that sums and "
        "bias fit 32 bits",
        initializer, describe(graph.nodes[weight.nodes.front()]), widened, widened == 1 ? "channel" : "channels", first));
  return qparams;
}

}  // namespace

double least_safe_scale(double weights, double bias, std::int64_t products, float x_scale, std::int32_t span) {
  constexpr double kMost = 2147483647.0;
  const double room = kMost - static_cast<double>(span) * static_cast<double>(products) / 2 - 2;
  if (room <= kMost / 2)
    throw Error(ErrorCode::kLimit, "", fmt::format("sums of {} products pass 32 bits at any scale", products));
  return (bias / static_cast<double>(x_scale) + static_cast<double>(span) * weights) / room * (1 + 1e-6);
}

QParamsChoice choose_with_notes(const Graph& graph, const Statistics& statistics, const Recipe& recipe) {
  if (const std::string hash = graph_hash(graph); statistics.model_hash != hash) {
    const auto early = std::find_if(recipe.steps.begin(), recipe.steps.end(), [](const Step& step) {
      const StepRule* rule = find_step(step.name);
      return rule && rule->phase == Phase::before;
    });
    throw Error(ErrorCode::kMismatch, "statistics",
                fmt::format("they were taken from another graph (hash {}, not {}){}", statistics.model_hash, hash,
                            early == recipe.steps.end()
                                ? ""
                                : fmt::format("; the recipe's step '{}' changes the graph before calibration: give samples, or "
                                              "statistics of prepare(model, recipe)",
                                              early->name)));
  }
  QParamsChoice choice;
  choice.placement = place(graph, recipe);
  const Uses uses = find_uses(graph);
  const std::map<std::size_t, std::string> logits = logits_of(graph, choice.placement);
  for (std::size_t i = 0; i < choice.placement.groups.size(); ++i) {
    const TieGroup& group = choice.placement.groups[i];
    const auto of_rows = logits.find(i);
    const QParams qparams = qparams_of_group(group, statistics, of_rows == logits.end() ? "" : of_rows->second,
                                             group.scheme.range == "auto" ? error_gain(graph, uses, group) : ErrorGain{});
    for (const std::string& value : group.values) choice.qparams.emplace(value, qparams);
  }
  const ValueIndex index(graph);
  QParamsMap weights;
  for (const auto& [initializer, weight] : choice.placement.weights) {
    try {
      weights.emplace(initializer, qparams_of_weight(graph, index, uses, initializer, weight, choice.qparams, choice.notes));
    } catch (const Error& error) {
      if (!error.where.empty()) throw;
      throw Error(error.code, fmt::format("initializer '{}' of {}", initializer, describe(graph.nodes[weight.nodes.front()])),
                  error.what());
    }
  }
  choice.qparams.merge(weights);
  const bool stores = std::any_of(choice.placement.weights.begin(), choice.placement.weights.end(),
                                  [](const auto& each) { return each.second.use == WeightUse::stored; });
  if (stores && recipe.target == Target::onnxruntime)
    choice.notes.emplace_back(
        "ONNX Runtime expands the stored weights of LSTM, GRU and RNN at each run: a smaller file, but slower on sequences of "
        "few steps; dynamic_w8a8 is smaller and faster there");
  return choice;
}

}  // namespace quant

std::vector<std::string> quantizable_values(const Graph& graph, const Recipe& recipe) {
  std::vector<std::string> values;
  for (const quant::TieGroup& group : quant::place(graph, recipe).groups)
    values.insert(values.end(), group.sources.begin(), group.sources.end());
  std::sort(values.begin(), values.end());
  return values;
}

Graph apply_steps(Graph graph, const QParamsMap& qparams, const Statistics& statistics, const Recipe& recipe) {
  StepLog log;
  const StepOptions options;
  const Graph original = graph;
  quant::Rounding rounding{original, statistics, std::move(graph), qparams};
  quant::run_after(rounding, {recipe, nullptr, options, log});
  return std::move(rounding.graph);
}

QParamsMap choose_qparams(const Graph& graph, const Statistics& statistics, const Recipe& recipe) {
  return quant::choose_with_notes(graph, statistics, recipe).qparams;
}

}  // namespace zeropoint
