#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "analyze/compare_options.h"
#include "analyze/distribution.h"
#include "analyze/metrics.h"
#include "analyze/node_reports.h"
#include "analyze/related.h"
#include "analyze/value_pairs.h"
#include "engine/tap.h"
#include "zeropoint/error.h"
#include "zeropoint/quantize_tensor.h"
#include "zeropoint/report.h"

namespace zeropoint {
namespace {

using analyze::check_interrupt;
using analyze::ErrorSums;
using analyze::session_options;

// What a value held, with its extremes.
struct Seen {
  Histogram histogram;
  float min = std::numeric_limits<float>::infinity(), max = -min;

  void add(std::span<const float> values) {
    histogram.add(values);
    for (const float value : values)
      if (std::isfinite(value)) min = std::min(min, value), max = std::max(max, value);
  }
};

// What a quantizer makes of values that it cannot tell apart: those beyond its limits, and small ones.
class Losses {
 public:
  explicit Losses(const QParams* qparams) {
    if (!qparams || qparams->scale.size() != 1) return;
    const IntegerLimits limits = limits_of(*qparams);
    const auto real = [&](std::int32_t q) { return static_cast<double>(qparams->scale[0]) * (q - qparams->zero_point[0]); };
    const double half_step = static_cast<double>(qparams->scale[0]) / 2;
    low_ = real(limits.low) - half_step;
    high_ = real(limits.high) + half_step;
  }
  void add(std::span<const float> x, std::span<const float> y) {
    count_ += x.size();
    for (std::size_t i = 0; i < x.size(); ++i) {
      const auto value = static_cast<double>(x[i]);
      saturated_ += value < low_ || value > high_;
      dead_ += x[i] != 0 && y[i] == 0;
    }
  }
  double saturated() const { return share(saturated_); }
  double dead() const { return share(dead_); }

 private:
  double share(std::uint64_t count) const { return count_ == 0 ? 0 : static_cast<double>(count) / static_cast<double>(count_); }
  double low_ = -std::numeric_limits<double>::infinity(), high_ = std::numeric_limits<double>::infinity();
  std::uint64_t count_ = 0, saturated_ = 0, dead_ = 0;
};

// A model that runs sample by sample and remembers the tapped values of the last one.
class TappedModel {
 public:
  TappedModel(const Graph& graph, std::vector<std::string> taps, const SessionOptions& options)
      : values_(taps.size()), session_(graph, std::move(taps), options) {}
  std::vector<Tensor> run(const Feeds& feeds) {
    return session_.run(feeds, [this](const TapView& view) { values_[view.index] = analyze::row_major(view); });
  }
  const std::vector<std::vector<float>>& values() const { return values_; }
  const Session& session() const { return session_.session(); }

 private:
  std::vector<std::vector<float>> values_;
  TapSession session_;
};

void check_same_dims(const Tensor& x, const Tensor& y, const std::string& output, const std::string& sample) {
  if (x.dims() != y.dims() || x.dtype() != y.dtype())
    throw Error(ErrorCode::kMismatch, sample,
                fmt::format("output '{}' is {}{} from one model and {}{} from the other", output, name(x.dtype()),
                            to_string(x.dims()), name(y.dtype()), to_string(y.dims())));
}

void sort_by_graph(std::vector<analyze::ValuePair>& pairs, const Graph& graph) {
  std::map<std::string_view, std::size_t> order;
  for (const ValueInfo& info : graph.inputs) order.emplace(info.name, order.size());
  for (const Node& node : graph.nodes)
    for (const std::string& output : node.outputs) order.emplace(output, order.size());
  std::stable_sort(pairs.begin(), pairs.end(), [&](const analyze::ValuePair& x, const analyze::ValuePair& y) {
    return order.at(x.in_float) < order.at(y.in_float);
  });
}

std::string maker_of(const Graph& graph, const std::string& value) {
  for (const Node& node : graph.nodes)
    if (std::find(node.outputs.begin(), node.outputs.end(), value) != node.outputs.end())
      return node.name.empty() ? value : node.name;
  return "";
}

}  // namespace

std::uint64_t constant_bytes(const Graph& graph) {
  std::uint64_t sum = 0;
  for (const auto& [name, tensor] : graph.initializers) sum += tensor.byte_size();
  return sum;
}

Report compare(const Graph& float_graph, const Graph& quantized, const Samples& samples, const CompareOptions& options) {
  if (const std::string why = analyze::why_unrelated(float_graph, quantized); !why.empty())
    throw Error(ErrorCode::kMismatch, "models", "they don't belong together: " + why);
  if (samples.size() == 0) throw Error(ErrorCode::kBadSample, "samples", "there are none to compare on");
  std::vector<analyze::ValuePair> pairs;
  if (options.values) {
    pairs = analyze::pair_values(float_graph, quantized);
    for (analyze::ValuePair& pair : analyze::pair_float_values(float_graph, quantized)) pairs.push_back(std::move(pair));
    sort_by_graph(pairs, float_graph);
  }
  std::vector<std::string> float_taps, quantized_taps;
  for (const analyze::ValuePair& pair : pairs) {
    float_taps.push_back(pair.in_float);
    quantized_taps.push_back(pair.in_quantized);
  }
  TappedModel original(float_graph, std::move(float_taps), session_options(options));
  TappedModel converted(quantized, std::move(quantized_taps), session_options(options));

  std::vector<ErrorSums> outputs(float_graph.outputs.size()), values(pairs.size());
  const QParamsMap qparams = analyze::activation_qparams(quantized);
  std::vector<Seen> seen(pairs.size());
  std::vector<Losses> losses;
  for (const analyze::ValuePair& pair : pairs) {
    const auto found = qparams.find(pair.in_quantized);
    losses.emplace_back(found == qparams.end() ? nullptr : &found->second);
  }
  std::vector<analyze::AgreementSums> agreements(outputs.size());
  analyze::AccuracySums float_accuracy, quantized_accuracy;
  bool labelled = true;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    check_interrupt(options.interrupt, "compare");
    const Feeds feeds = samples.get(i);
    const std::vector<Tensor> x = original.run(feeds), y = converted.run(feeds);
    for (std::size_t k = 0; k < x.size(); ++k) {
      check_same_dims(x[k], y[k], float_graph.outputs[k].name, samples.describe(i));
      if (x[k].dtype() != DType::f32) continue;
      outputs[k].add(x[k].values<float>(), y[k].values<float>());
      agreements[k].add(x[k], y[k]);
    }
    for (std::size_t v = 0; v < pairs.size(); ++v) {
      if (original.values()[v].size() == converted.values()[v].size()) {
        values[v].add(original.values()[v], converted.values()[v]);
        losses[v].add(original.values()[v], converted.values()[v]);
      }
      if (qparams.contains(pairs[v].in_quantized)) seen[v].add(original.values()[v]);
    }
    const std::optional<std::int64_t> label = samples.label(i);
    labelled = labelled && label && !x.empty();
    if (labelled) {
      float_accuracy.add(x[0], *label, samples.describe(i));
      quantized_accuracy.add(y[0], *label, samples.describe(i));
    }
    if (options.progress) options.progress(i + 1, samples.size());
  }

  Report report;
  report.samples = samples.size();
  report.model = std::filesystem::path(float_graph.source).filename().string();
  report.nodes = analyze::node_reports(quantized, converted.session().steps());
  if (options.values)  // these are there to be looked at
    std::erase_if(report.nodes, [](const NodeReport& node) { return node.op_type == "DequantizeLinear"; });
  report.float_bytes = constant_bytes(float_graph);
  report.quantized_bytes = constant_bytes(quantized);
  report.integer_coverage = converted.session().integer_coverage();
  for (const StepInfo& step : converted.session().steps())
    if (!step.integer && step.macs > 0) report.left_in_float.push_back({step.name, step.op, step.reason});
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    OutputMetrics metrics{.name = float_graph.outputs[k].name, .error = outputs[k].metrics()};
    agreements[k].fill(metrics);
    report.outputs.push_back(std::move(metrics));
  }
  for (std::size_t v = 0; v < pairs.size(); ++v) {
    report.values.push_back({pairs[v].in_float, maker_of(float_graph, pairs[v].in_float), values[v].metrics(),
                             losses[v].saturated(), losses[v].dead()});
    const auto chosen = qparams.find(pairs[v].in_quantized);
    if (chosen == qparams.end() || seen[v].histogram.count() == 0) continue;
    ValueDistribution one = analyze::distribution(HistogramView(seen[v].histogram, seen[v].min, seen[v].max), chosen->second);
    one.value = report.values.back().value;
    one.node = report.values.back().node;
    report.distributions.push_back(std::move(one));
  }
  if (labelled) {
    report.float_accuracy = float_accuracy.accuracy();
    report.quantized_accuracy = quantized_accuracy.accuracy();
  }
  return report;
}

Accuracy evaluate(const Graph& graph, const Samples& samples, const CompareOptions& options) {
  if (samples.size() == 0) throw Error(ErrorCode::kBadSample, "samples", "there are none to evaluate on");
  Session session(graph, session_options(options));
  return evaluate(session, samples, options);
}

Accuracy evaluate(Session& session, const Samples& samples, const CompareOptions& options) {
  if (samples.size() == 0) throw Error(ErrorCode::kBadSample, "samples", "there are none to evaluate on");
  analyze::AccuracySums sums;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    check_interrupt(options.interrupt, "evaluate");
    const std::optional<std::int64_t> label = samples.label(i);
    if (!label)
      throw Error(ErrorCode::kBadSample, samples.describe(i),
                  "it has no label; accuracy needs one for every sample (--labels)");
    const std::vector<Tensor> outputs = session.run(samples.get(i));
    if (outputs.empty()) throw Error(ErrorCode::kBadShape, "graph", "it has no output");
    sums.add(outputs[0], *label, samples.describe(i));
    if (options.progress) options.progress(i + 1, samples.size());
  }
  return sums.accuracy();
}

}  // namespace zeropoint
