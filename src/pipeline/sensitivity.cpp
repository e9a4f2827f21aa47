#include "zeropoint/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "analyze/causes.h"
#include "analyze/node_noise.h"
#include "analyze/noise.h"
#include "analyze/output_check.h"
#include "ir/naming.h"
#include "pipeline/requantize.h"
#include "quant/rule_matcher.h"
#include "quant/without_data.h"
#include "zeropoint/data.h"
#include "zeropoint/error.h"
#include "zeropoint/quantize.h"

namespace zeropoint {
namespace {

constexpr std::size_t kMostSamples = 16;  // for the SQNR of whole models

Sensitivity of_model(const Quantized& quantized, const Samples& samples, const std::function<Graph(const Recipe&)>& remake,
                     const SensitivityOptions& options) {
  if (samples.size() == 0) throw Error(ErrorCode::kBadSample, "samples", "there are none to measure on");
  const Graph& graph = quantized.fused;
  const Recipe recipe = parse_recipe(quantized.model.metadata.at(kRecipeKey));
  std::vector<std::size_t> spread;
  const std::size_t count = std::min(kMostSamples, samples.size());
  for (std::size_t i = 0; i < count; ++i) spread.push_back(i * samples.size() / count);
  const analyze::FloatReference reference(graph, Subset(samples, spread),
                                          {options.threads, options.max_isa, options.shapes, options.interrupt});
  const quant::Placement placement = quant::place(graph, quant::static_part(recipe));
  const analyze::NoiseOptions how{.threads = options.threads,
                                  .max_isa = options.max_isa,
                                  .shapes = options.shapes,
                                  .samples = options.samples,
                                  .groups = analyze::values_by_group(placement),
                                  .interrupt = options.interrupt,
                                  .progress = options.progress};
  const analyze::Noise noise = analyze::measure_noise(graph, quantized.model, samples, how);
  Sensitivity result{.recipe = recipe.name,
                     .samples = noise.samples,
                     .sqnr_db = reference.check(quantized.model).sqnr_db,
                     .sources = noise.sources.size(),
                     .measured = noise.measured};
  const analyze::Patient patient{graph, quantized.statistics, quantized.qparams, placement, recipe};
  const double whole = std::pow(10, -result.sqnr_db / 10);  // infinite where the model gives no numbers
  for (const analyze::NodeNoise& node :
       analyze::noise_by_node(graph, placement, noise, analyze::macs_by_node(graph, reference.feeds(0)))) {
    NodeSensitivity one{.node = quant::name_of(graph.nodes[node.node]),
                        .op_type = graph.nodes[node.node].op_type,
                        .alone_db = analyze::decibels(node.total()),
                        .values_db = analyze::decibels(node.values),
                        .weights_db = analyze::decibels(node.weights),
                        .share = noise.total > 0 ? node.total() / noise.total : 0,
                        .measured = node.measured,
                        .macs_share = node.macs_share};
    one.restored_db = std::isinf(whole) ? -whole : analyze::decibels(whole * std::max(0.0, 1 - one.share));
    if (result.nodes.size() < options.restored && node.total() > 0) {
      Recipe without = recipe;
      without.keep_float(quant::scope_of_name(one.node));
      one.restored_db = reference.check(remake(without)).sqnr_db;
      one.restored_measured = true;
    }
    analyze::Diagnosis diagnosis = analyze::diagnose(patient, node, noise);
    one.cause = std::move(diagnosis.cause);
    one.figures = std::move(diagnosis.figures);
    one.fix = std::move(diagnosis.fix);
    one.recipe = std::move(diagnosis.recipe);
    result.nodes.push_back(std::move(one));
  }
  return result;
}

QuantizeOptions quantize_options(const SensitivityOptions& options) {
  return {.threads = options.threads,
          .max_isa = options.max_isa,
          .shapes = options.shapes,
          .max_memory = options.max_memory,
          .allow_non_finite = options.allow_non_finite,
          .interrupt = options.interrupt,
          .verify = false};
}

void check_recipe(const Recipe& recipe) {
  if (!recipe.needs_samples())
    throw Error(ErrorCode::kBadArgument, "recipe " + recipe.name,
                "sensitivity is of recipes that fix ranges of activations beforehand, such as static_w8a8");
}

}  // namespace

Sensitivity sensitivity(const Graph& graph, const Samples& samples, const Recipe& recipe, const SensitivityOptions& options) {
  check_recipe(recipe);
  const Quantized quantized = quantize(graph, samples, recipe, quantize_options(options));
  return naming_source(graph, [&] {
    return of_model(
        quantized, samples,
        [&](const Recipe& one) { return requantize(quantized, &samples, one, quantize_options(options)).model; }, options);
  });
}

Sensitivity sensitivity(const Graph& graph, const Statistics& statistics, const Samples& samples, const Recipe& recipe,
                        const SensitivityOptions& options) {
  check_recipe(recipe);
  const Quantized quantized = quantize(graph, statistics, recipe, quantize_options(options));
  return naming_source(graph, [&] {
    return of_model(
        quantized, samples,
        [&](const Recipe& one) { return requantize(quantized, &samples, one, quantize_options(options)).model; }, options);
  });
}

}  // namespace zeropoint
