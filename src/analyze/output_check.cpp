#include "analyze/output_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "analyze/compare_options.h"
#include "analyze/metrics.h"
#include "analyze/noise.h"
#include "analyze/value_pairs.h"
#include "engine/tap.h"

namespace zeropoint::analyze {
namespace {

// A model with some values tapped: what it makes of one sample.
struct Tapped {
  Tapped(const Graph& graph, const std::vector<std::string>& taps, const FloatReference::Options& options)
      : values(taps.size()),
        session(graph, taps, {.threads = options.threads, .max_isa = options.max_isa, .shapes = options.shapes}) {}
  std::vector<Tensor> run(const Feeds& feeds) {
    for (auto& value : values) value.clear();
    return session.run(feeds, [&](const TapView& view) { values[view.index] = row_major(view); });
  }
  std::vector<std::vector<float>> values;
  TapSession session;
};

// Where the float model has no number there is nothing to compare with.
void add_finite(ErrorSums& sums, std::span<const float> x, std::span<const float> y) {
  if (std::all_of(x.begin(), x.end(), [](float v) { return std::isfinite(v); })) return sums.add(x, y);
  std::vector<float> a, b;
  for (std::size_t i = 0; i < x.size(); ++i)
    if (std::isfinite(x[i])) a.push_back(x[i]), b.push_back(y[i]);
  sums.add(a, b);
}

// The least SQNR so far and another one. One of a value that is 0 throughout says nothing.
double least(double so_far, const ErrorMetrics& metrics) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (metrics.count == 0 || metrics.sqnr_db == -kInfinity) return so_far;
  return std::isnan(metrics.sqnr_db) ? -kInfinity : std::min(so_far, metrics.sqnr_db);
}

}  // namespace

FloatReference::FloatReference(const Graph& graph, const Samples& samples, Options options)
    : graph_(graph), options_(std::move(options)) {
  for (std::string& value : judged_values(graph))
    if (!graph.is_output(value)) judged_.push_back(std::move(value));
  Tapped model(graph, judged_, options_);
  for (std::size_t i = 0; i < samples.size(); ++i) {
    check_interrupt(options_.interrupt, "self check");
    feeds_.push_back(samples.get(i));
    outputs_.push_back(model.run(feeds_.back()));
    judged_values_.push_back(model.values);
  }
}

OutputCheck FloatReference::check(const Graph& quantized) const {
  std::vector<std::string> taps = judged_;
  for (const ValuePair& pair : pair_values(graph_, quantized))
    for (std::string& tap : taps)
      if (tap == pair.in_float) tap = pair.in_quantized;
  Tapped model(quantized, taps, options_);
  std::vector<ErrorSums> outputs(graph_.outputs.size()), judged(judged_.size());
  std::vector<AgreementSums> agreements(outputs.size());
  for (std::size_t i = 0; i < feeds_.size(); ++i) {
    check_interrupt(options_.interrupt, "self check");
    const std::vector<Tensor> y = model.run(feeds_[i]);
    for (std::size_t k = 0; k < y.size(); ++k) {
      const Tensor& x = outputs_[i][k];
      if (x.dtype() != DType::f32 || y[k].dtype() != DType::f32 || x.dims() != y[k].dims()) continue;
      add_finite(outputs[k], x.values<float>(), y[k].values<float>());
      agreements[k].add(x, y[k]);
    }
    for (std::size_t k = 0; k < judged.size(); ++k)
      if (judged_values_[i][k].size() == model.values[k].size()) add_finite(judged[k], judged_values_[i][k], model.values[k]);
  }
  OutputCheck result;
  result.sqnr_db = std::numeric_limits<double>::infinity();
  const std::vector<std::string> all_judged = judged_values(graph_);
  for (std::size_t k = 0; k < outputs.size(); ++k) {
    OutputMetrics metrics{.name = graph_.outputs[k].name, .error = outputs[k].metrics()};
    if (metrics.error.count == 0) continue;
    agreements[k].fill(metrics);
    if (std::find(all_judged.begin(), all_judged.end(), metrics.name) != all_judged.end())
      result.sqnr_db = least(result.sqnr_db, metrics.error);
    if (metrics.top1_agreement) result.top1_agreement = std::min(result.top1_agreement.value_or(1), *metrics.top1_agreement);
    result.outputs.push_back(std::move(metrics));
  }
  for (const ErrorSums& sums : judged) result.sqnr_db = least(result.sqnr_db, sums.metrics());
  result.integer_coverage = model.session.session().integer_coverage();
  return result;
}

}  // namespace zeropoint::analyze
