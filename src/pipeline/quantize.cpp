#include "zeropoint/quantize.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "ops/operator.h"
#include "quant/choose_qparams.h"
#include "quant/placement.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

constexpr std::int64_t kConvolutionChannels = 1, kMatrixChannels = -1;  // axes of an input

// Share of the multiply-accumulates that integer nodes do, at one sample. Nothing where a shape stays unknown.
std::optional<double> integer_share(const Graph& graph, const std::vector<std::size_t>& integer_nodes) {
  Graph shaped = graph;
  std::map<std::string, Dims> input_shapes;
  for (const ValueInfo& info : graph.inputs) {
    if (!info.type.shape) return std::nullopt;
    Dims dims;
    for (const Dim& dim : *info.type.shape) {
      if (!dim.fixed() && &dim != info.type.shape->data()) return std::nullopt;  // only the batch is ours to choose
      dims.push_back(dim.fixed() ? dim.value : 1);
    }
    input_shapes[info.name] = std::move(dims);
  }
  ops::infer_shapes(shaped, input_shapes);
  std::int64_t all = 0, integer = 0;
  for (std::size_t i = 0; i < shaped.nodes.size(); ++i) {
    const std::int64_t macs = ops::macs(shaped, shaped.nodes[i]);
    all += macs;
    if (std::binary_search(integer_nodes.begin(), integer_nodes.end(), i)) integer += macs;
  }
  if (all == 0) return std::nullopt;
  return static_cast<double>(integer) / static_cast<double>(all);
}

Quantized quantize_fused(Graph fused, Statistics statistics, const Recipe& recipe) {
  quant::QParamsChoice choice = quant::choose_with_notes(fused, statistics, recipe);
  Quantized result;
  result.model = insert_qdq(apply_steps(fused, choice.qparams, statistics, recipe), choice.qparams);
  result.model.metadata[kRecipeKey] = to_json(recipe);
  result.model.metadata[kVersionKey] = ZEROPOINT_VERSION;
  result.model.metadata[kStatisticsKey] = statistics_hash(statistics);
  verify(result.model);

  Report& report = result.report;
  report.recipe = recipe.name;
  report.float_bytes = constant_bytes(fused);
  report.quantized_bytes = constant_bytes(result.model);
  report.integer_coverage = integer_share(fused, choice.placement.integer_nodes);
  for (quant::LeftInFloat& node : choice.placement.left_in_float)
    report.left_in_float.push_back({std::move(node.node), std::move(node.op_type), std::move(node.reason)});
  report.notes = std::move(choice.notes);
  result.qparams = std::move(choice.qparams);
  result.fused = std::move(fused);
  result.statistics = std::move(statistics);
  return result;
}

}  // namespace

CalibrateOptions calibrate_options(const Graph& fused, const Recipe& recipe) {
  const quant::Placement placement = quant::place(fused, recipe);
  std::set<std::string> values;
  for (const quant::TieGroup& group : placement.groups) values.insert(group.sources.begin(), group.sources.end());
  CalibrateOptions options;
  if (recipe.has_step("bias_correction"))
    for (const std::size_t i : placement.integer_nodes) {
      const Node& node = fused.nodes[i];
      if (!fused.constant(node.input(1))) continue;
      values.insert(node.input(0));
      options.channel_axes.emplace(node.input(0), node.is("Conv") ? kConvolutionChannels : kMatrixChannels);
    }
  options.values.assign(values.begin(), values.end());
  return options;
}

Quantized quantize(const Graph& graph, const Samples& samples, const Recipe& recipe, const QuantizeOptions& options) {
  Graph fused = fuse(graph);
  CalibrateOptions calibration = calibrate_options(fused, recipe);
  if (calibration.values.empty())
    throw Error(ErrorCode::kUnsupported, "graph",
                "the recipe finds nothing in it to quantize (Conv, Gemm, MatMul with constant weights)");
  calibration.threads = options.threads;
  calibration.max_isa = options.max_isa;
  calibration.shapes = options.shapes;
  calibration.max_memory = options.max_memory;
  calibration.allow_non_finite = options.allow_non_finite;
  calibration.progress = options.progress;
  calibration.interrupt = options.interrupt;
  Statistics statistics = calibrate(fused, samples, calibration);
  return quantize_fused(std::move(fused), std::move(statistics), recipe);
}

Quantized quantize(const Graph& graph, const Statistics& statistics, const Recipe& recipe) {
  return quantize_fused(fuse(graph), statistics, recipe);
}

}  // namespace zeropoint
