#include "zeropoint/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "analyze/distribution.h"
#include "analyze/node_reports.h"
#include "ir/naming.h"
#include "ops/operator.h"
#include "pipeline/requantize.h"
#include "pipeline/self_check.h"
#include "pipeline/speed.h"
#include "quant/advice.h"
#include "quant/choose_qparams.h"
#include "quant/placement.h"
#include "quant/rule_matcher.h"
#include "quant/steps.h"
#include "quant/without_data.h"
#include "zeropoint/convert_floats.h"
#include "zeropoint/data.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

constexpr double kLittleInIntegers = 0.1;                               // a share of the work that calls for a warning
constexpr std::int64_t kConvolutionChannels = 1, kMatrixChannels = -1;  // axes of an input

// Share of the multiply-accumulates that integer nodes (by name) do, at one sample. Nothing where a shape stays unknown.
std::optional<double> integer_share(const Graph& graph, const std::set<std::string>& integer_nodes) {
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
  const ValueIndex types(shaped);
  for (const Node& node : shaped.nodes) {
    const std::int64_t macs = quant::macs_with_bodies(types, node);
    all += macs;
    if (integer_nodes.contains(quant::name_of(node))) integer += macs;
  }
  if (all == 0) return std::nullopt;
  return static_cast<double>(integer) / static_cast<double>(all);
}

// Statistics of a graph of which only weights are quantized. Throws when there are none either.
Statistics nothing_observed(const Graph& fused, const Recipe& recipe) {
  const quant::Placement placement = quant::place(fused, quant::static_part(recipe));
  if (placement.weights.empty() && !recipe.has_data_free_rules())
    throw Error(ErrorCode::kUnsupported, "graph",
                "the recipe finds nothing in it to quantize: " +
                    quant::advice_without_integers(fused, placement.left_in_float, recipe.target));
  Statistics statistics;
  statistics.model_hash = graph_hash(fused);
  return statistics;
}

// Of a model that is newer than what the recipe's target takes.
void tell_opset(const Graph& graph, const Recipe& recipe, std::vector<std::string>& notes) {
  if (graph.opset() > newest_opset(recipe.target))
    notes.insert(
        notes.begin(),
        fmt::format("warning: the model has opset {}, {} is known to take opsets up to {}: if it refuses the file, export "
                    "the model with an older opset",
                    graph.opset(), name(recipe.target), newest_opset(recipe.target)));
}

// Which model by which recipe.
void name_origin(Report& report, const Graph& fused, const Graph& quantized) {
  report.model = std::filesystem::path(fused.source).filename().string();
  report.recipe_json = quantized.metadata.at(kRecipeKey);
}

void sign(Graph& model, const Recipe& recipe) {
  model.metadata[kRecipeKey] = to_json(recipe);
  model.metadata[kVersionKey] = ZEROPOINT_VERSION;
}

// The recipe with what the table of costs decided: another table would make the same file by it.
Recipe decided(Recipe recipe, const quant::Placement& placement) {
  if (placement.slower_in_integers.empty()) return recipe;
  recipe.all_integers = true;
  for (const std::string& node : placement.slower_in_integers) recipe.keep_float(quant::scope_of_name(node));
  return recipe;
}

StepOptions step_options(const QuantizeOptions& options) {
  return {.threads = options.threads,
          .max_isa = options.max_isa,
          .shapes = options.shapes,
          .max_memory = options.max_memory,
          .progress = options.step_progress,
          .interrupt = options.interrupt};
}

// A graph that is ready for calibration, and what its steps so far had to say.
struct Prepared {
  Graph fused;
  StepLog log;
};
Prepared prepare_on(const Graph& graph, const Samples* samples, const Recipe& recipe, const QuantizeOptions& options) {
  quant::check_samples(recipe, samples);
  const StepOptions how = step_options(options);
  Prepared prepared;
  prepared.fused = quant::run_before(fuse(graph), {recipe, samples, how, prepared.log});
  return prepared;
}

// `samples` are for the recipe's steps; null where there are only statistics.
Quantized quantize_fused(Prepared prepared, Statistics statistics, const Samples* samples, const Recipe& recipe,
                         const QuantizeOptions& options) {
  Graph& fused = prepared.fused;
  const Recipe fixed = recipe.has_data_free_rules() ? quant::static_part(recipe) : recipe;
  quant::QParamsChoice choice = quant::choose_with_notes(fused, statistics, fixed);
  const StepOptions how = step_options(options);
  std::vector<std::string> preparation_notes = prepared.log.notes;
  quant::Rounding rounding{fused, statistics, fused, std::move(choice.qparams)};
  quant::run_after(rounding, {recipe, samples, how, prepared.log});
  choice.qparams = std::move(rounding.qparams);
  Quantized result;
  result.model = insert_qdq(std::move(rounding.graph), choice.qparams, quant::opset_limit(recipe.target));

  Report& report = result.report;
  report.recipe = recipe.name;
  report.steps = std::move(prepared.log.gains);
  choice.notes.insert(choice.notes.end(), prepared.log.notes.begin(), prepared.log.notes.end());
  result.preparation_notes = std::move(preparation_notes);
  for (const quant::LeftInFloat& node : choice.placement.left_in_float)
    report.left_in_float.push_back({node.node, node.op_type, node.reason});
  report.notes = std::move(choice.notes);
  std::set<std::string> integer_names;
  for (const std::size_t i : choice.placement.integer_nodes) integer_names.insert(quant::name_of(fused.nodes[i]));
  if (recipe.has_data_free_rules()) {
    quant::WithoutData rest = quant::quantize_without_data(std::move(result.model), recipe);
    for (const std::string& name : rest.integer_names) integer_names.insert(name);
    std::erase_if(report.left_in_float, [&](const FloatNode& node) {
      return rest.integer_names.contains(node.node) || rest.weight_names.contains(node.node);
    });
    result.model = std::move(rest.graph);
    report.notes.insert(report.notes.begin(), rest.notes.begin(), rest.notes.end());
  }
  report.float_bytes = constant_bytes(fused);
  report.quantized_bytes = constant_bytes(result.model);
  report.integer_coverage = integer_share(fused, integer_names);
  if (report.integer_coverage && *report.integer_coverage < kLittleInIntegers)
    report.notes.insert(report.notes.begin(),
                        "warning: " + quant::advice_without_integers(fused, choice.placement.left_in_float, recipe.target,
                                                                     *report.integer_coverage));
  tell_opset(result.model, recipe, report.notes);
  report.nodes = analyze::node_reports(fused, integer_names, report.left_in_float, choice.qparams);
  report.distributions = analyze::distributions(fused, choice.qparams, statistics);
  sign(result.model, decided(recipe, choice.placement));
  result.model.metadata[kStatisticsKey] = statistics_hash(statistics);
  name_origin(report, fused, result.model);
  verify(result.model);
  result.qparams = std::move(choice.qparams);
  result.fused = std::move(fused);
  result.statistics = std::move(statistics);
  return result;
}

Quantized quantize_without_samples(Graph fused, const Recipe& recipe, const QuantizeOptions& options) {
  Quantized result;
  result.fused = std::move(fused);
  const int threads = options.threads > 0 ? options.threads : physical_cores();
  quant::WithoutData made = quant::quantize_without_data(result.fused, recipe, threads, options.folder);
  if (made.integer_names.empty() && made.weight_names.empty())
    throw Error(ErrorCode::kUnsupported, "graph",
                "the recipe finds nothing in it to quantize: " + quant::reasons_in_brief(made.left_in_float) +
                    quant::way_out(result.fused, recipe.target));
  result.model = std::move(made.graph);
  sign(result.model, recipe);
  Report& report = result.report;
  report.recipe = recipe.name;
  report.float_bytes = constant_bytes(result.fused);
  report.quantized_bytes = constant_bytes(result.model);
  report.integer_coverage = integer_share(result.fused, made.integer_names);
  for (quant::LeftInFloat& node : made.left_in_float)
    report.left_in_float.push_back({std::move(node.node), std::move(node.op_type), std::move(node.reason)});
  report.notes = std::move(made.notes);
  report.nodes = analyze::node_reports(result.fused, made.integer_names, report.left_in_float, {});
  name_origin(report, result.fused, result.model);
  tell_opset(result.model, recipe, report.notes);
  return result;
}

// 16-bit floats; `statistics`, of every value, may be empty.
Quantized convert_prepared(Prepared prepared, Statistics statistics, const Recipe& recipe) {
  Quantized result;
  result.fused = std::move(prepared.fused);
  ConvertedFloats converted = convert_floats(result.fused, recipe, statistics.values.empty() ? nullptr : &statistics);
  result.model = std::move(converted.graph);
  sign(result.model, recipe);
  if (!statistics.values.empty()) result.model.metadata[kStatisticsKey] = statistics_hash(statistics);
  result.statistics = std::move(statistics);
  Report& report = result.report;
  report.recipe = recipe.name;
  report.float_bytes = constant_bytes(result.fused);
  report.quantized_bytes = constant_bytes(result.model);
  report.integer_coverage = integer_share(result.fused, {});
  report.steps = prepared.log.gains;
  for (KeptNode& node : converted.kept)
    report.left_in_float.push_back({std::move(node.node), std::move(node.op_type), std::move(node.reason)});
  report.notes = prepared.log.notes;
  report.notes.push_back(fmt::format("{} nodes compute in 16 bits, {} in f32; {} constants of the latter are stored in 16 bits",
                                     converted.converted, converted.kept.size(), converted.stored));
  report.nodes = analyze::node_reports(result.fused, {}, report.left_in_float, {});
  name_origin(report, result.fused, result.model);
  tell_opset(result.model, recipe, report.notes);
  return result;
}

// What calibrate() would have kept with `options`, of statistics with more values: a recipe that leaves more in float gives the
// same file from these as from a calibration of its own.
Statistics restricted(Statistics statistics, const CalibrateOptions& options) {
  const std::set<std::string> wanted(options.values.begin(), options.values.end());
  std::erase_if(statistics.values, [&](const auto& entry) { return !wanted.contains(entry.first); });
  for (auto& [name, value] : statistics.values) {
    if (options.channel_axes.contains(name)) continue;
    value.channel_axis = 0;
    value.channel_max.clear();
    value.channel_mean_sum.clear();
  }
  return statistics;
}

// Why nodes that were timed stay in float.
void name_slower_nodes(Report& report) {
  std::set<std::string_view> kept;
  for (const NodeSpeed& node : report.speed->kept_float) kept.insert(node.node);
  for (FloatNode& node : report.left_in_float)
    if (kept.contains(node.node)) node.reason = "slower in integers on this machine";
}

// Quantizes by the recipe that choose_by_speed() makes of `recipe`.
template <class Quantize>
Quantized speed_aware(const Graph& fused, const Recipe& recipe, const QuantizeOptions& options, const Quantize& quantize) {
  const Timing timing = on_this_machine(
      options.timed_on, {.threads = options.threads, .max_isa = options.max_isa, .shapes = options.shapes}, options.interrupt);
  SpeedChoice choice = choose_by_times(fused, recipe, [&](const Recipe& one) { return quantize(one).model; }, timing);
  Quantized result = quantize(choice.recipe);
  result.report.speed = std::move(choice.report);
  name_slower_nodes(result.report);
  return result;
}

// Steps that run the network change constants alone: models are as fast without them, and sooner made.
Recipe without_long_steps(Recipe recipe) {
  std::erase_if(recipe.steps, [](const Step& step) {
    const quant::StepRule* rule = quant::find_step(step.name);
    return rule && rule->phase != quant::Phase::before && rule->needs_samples;
  });
  return recipe;
}

Quantized quantize_prepared(Prepared prepared, Statistics statistics, const Samples* samples, const Recipe& recipe,
                            const QuantizeOptions& options) {
  if (options.timed_on.empty()) return quantize_fused(std::move(prepared), std::move(statistics), samples, recipe, options);
  const Recipe quick = without_long_steps(recipe);
  const auto quantize_by = [&](const Recipe& one) {
    return quantize_fused(prepared, restricted(statistics, calibrate_options(prepared.fused, one)), samples, one, options);
  };
  if (quick == recipe) return speed_aware(prepared.fused, recipe, options, quantize_by);
  Quantized timed = speed_aware(prepared.fused, quick, options, quantize_by);
  Recipe chosen = parse_recipe(timed.model.metadata.at(kRecipeKey));
  chosen.steps = recipe.steps;
  Quantized result = quantize_by(chosen);
  result.report.left_in_float = std::move(timed.report.left_in_float);
  result.report.speed = std::move(timed.report.speed);
  return result;
}

}  // namespace

CalibrateOptions calibrate_options(const Graph& fused, const Recipe& recipe) {
  const quant::Placement placement = quant::place(fused, quant::static_part(recipe));
  std::set<std::string> values;
  for (const quant::TieGroup& group : placement.groups) values.insert(group.sources.begin(), group.sources.end());
  CalibrateOptions options;
  for (const auto& [group, logits] : quant::logits_of(fused, placement)) {
    values.insert(logits);
    options.row_values.push_back(logits);
  }
  if (recipe.has_step("bias_correction"))
    for (const std::size_t i : placement.integer_nodes) {
      const Node& node = fused.nodes[i];
      if (!fused.constant(node.input(1))) continue;
      values.insert(node.input(0));
      const bool convolution = node.is("Conv") || node.is("ConvTranspose");
      options.channel_axes.emplace(node.input(0), convolution ? kConvolutionChannels : kMatrixChannels);
    }
  options.values.assign(values.begin(), values.end());
  return options;
}

CalibrateOptions calibrate_options(const Graph& fused, const Recipe& recipe, const QuantizeOptions& options) {
  CalibrateOptions calibration = calibrate_options(fused, recipe);
  calibration.threads = options.threads;
  calibration.max_isa = options.max_isa;
  calibration.shapes = options.shapes;
  calibration.max_memory = options.max_memory;
  calibration.allow_non_finite = options.allow_non_finite;
  calibration.progress = options.progress;
  calibration.interrupt = options.interrupt;
  calibration.checkpoint = options.checkpoint;
  calibration.resume = options.resume;
  return calibration;
}

namespace {

// Where times are measured the table of costs has no say.
Recipe timed(Recipe recipe, const QuantizeOptions& options) {
  if (!options.timed_on.empty() && recipe.target == Target::zeropoint) recipe.all_integers = true;
  return recipe;
}

Quantized quantize_on(const Graph& graph, const Samples& samples, const Recipe& recipe, const QuantizeOptions& options) {
  Prepared prepared = prepare_on(graph, &samples, recipe, options);
  const Graph& fused = prepared.fused;
  const CalibrateOptions calibration = calibrate_options(fused, recipe, options);
  if (calibration.values.empty() && !recipe.converts_floats()) {
    Statistics nothing = nothing_observed(fused, recipe);
    return quantize_prepared(std::move(prepared), std::move(nothing), &samples, recipe, options);
  }
  Statistics statistics = calibrate(fused, samples, calibration);
  if (recipe.converts_floats()) return convert_prepared(std::move(prepared), std::move(statistics), recipe);
  return quantize_prepared(std::move(prepared), std::move(statistics), &samples, recipe, options);
}

// What was measured of a model before repairs, for the one after them.
void keep_times(const Report& before, const QuantizeOptions& options, Quantized& repaired) {
  if (!before.speed) return;
  Report& report = repaired.report;
  report.speed = before.speed;
  if (report.repairs.empty()) return;
  name_slower_nodes(report);
  const Timing timing = on_this_machine(
      options.timed_on, {.threads = options.threads, .max_isa = options.max_isa, .shapes = options.shapes}, options.interrupt);
  std::tie(report.speed->float_seconds, report.speed->seconds) = timing.compare(repaired.fused, repaired.model);
}

// Calibrates on what the self check leaves.
Quantized quantize_and_check(const Graph& graph, const Samples& samples, const Recipe& recipe, const QuantizeOptions& options) {
  if (!options.verify || recipe.converts_floats()) return quantize_on(graph, samples, recipe, options);
  const std::vector<std::size_t> aside = samples_aside(samples.size());
  const Subset calibration(samples, complement(samples.size(), aside));
  const Quantized first = quantize_on(graph, calibration, recipe, options);
  std::vector<std::size_t> checked = aside;
  for (std::size_t i = 0; aside.empty() && i < std::min(kMostAside, samples.size()); ++i)
    checked.push_back(i * samples.size() / std::min(kMostAside, samples.size()));
  SelfCheckOptions how{
      .threads = options.threads, .max_isa = options.max_isa, .shapes = options.shapes, .interrupt = options.interrupt};
  // Of the recipe's steps before calibration, which another model may have others of.
  const auto before = [](const Recipe& one) {
    std::vector<Step> steps = one.steps;
    std::erase_if(steps, [](const Step& step) {
      const quant::StepRule* rule = quant::find_step(step.name);
      return !rule || rule->phase != quant::Phase::before;
    });
    return steps;
  };
  Quantized base = first;
  std::vector<Step> base_steps = before(recipe);
  const auto again = [&](const Recipe& one) {
    if (before(one) == base_steps) return requantize(base, &calibration, one, options);
    QuantizeOptions anew = options;
    anew.timed_on.clear();
    anew.checkpoint.clear();
    base_steps = before(one);
    return base = quantize_on(graph, calibration, one, anew);
  };
  Quantized result = check_and_repair(first, Subset(samples, checked), calibration, again, how);
  result.report.self_check->kept_aside = !aside.empty();
  result.report.self_check->calibrated_on = calibration.size();
  keep_times(first.report, options, result);
  return result;
}

Quantized quantize_alone(const Graph& graph, const Recipe& recipe, const QuantizeOptions& options) {
  quant::check_samples(recipe, nullptr);
  if (recipe.needs_samples())
    throw Error(
        ErrorCode::kBadArgument, "recipe " + recipe.name,
        "it fixes ranges of activations beforehand and needs samples; dynamic_w8a8 and the weight_only recipes do without");
  Prepared prepared = prepare_on(graph, nullptr, recipe, options);
  if (recipe.converts_floats()) return convert_prepared(std::move(prepared), {}, recipe);
  const auto quantize_by = [&](const Recipe& one) {
    Quantized result = quantize_without_samples(prepared.fused, one, options);
    result.report.steps = prepared.log.gains;
    result.report.notes.insert(result.report.notes.end(), prepared.log.notes.begin(), prepared.log.notes.end());
    return result;
  };
  return options.timed_on.empty() ? quantize_by(recipe) : speed_aware(prepared.fused, recipe, options, quantize_by);
}

}  // namespace

Graph prepare(const Graph& graph, const Recipe& recipe) {
  return naming_source(graph, [&] { return prepare_on(graph, nullptr, recipe, {}).fused; });
}

Quantized quantize(const Graph& graph, const Samples& samples, const Recipe& recipe, const QuantizeOptions& options) {
  if (!recipe.needs_samples() && !recipe.converts_floats()) return quantize(graph, recipe, options);
  return naming_source(graph, [&] { return quantize_and_check(graph, samples, timed(recipe, options), options); });
}

Quantized quantize(const Graph& graph, const Recipe& recipe, const QuantizeOptions& options) {
  return naming_source(graph, [&] { return quantize_alone(graph, recipe, options); });
}

Quantized quantize(const Graph& graph, const Statistics& statistics, const Recipe& recipe, const QuantizeOptions& options) {
  return naming_source(graph, [&] {
    if (recipe.converts_floats()) return convert_prepared(prepare_on(graph, nullptr, recipe, options), statistics, recipe);
    Quantized result =
        quantize_prepared(prepare_on(graph, nullptr, recipe, options), statistics, nullptr, timed(recipe, options), options);
    if (options.verify) result.report.self_check = SelfCheck{.reason = "for want of samples: statistics do not run a model"};
    return result;
  });
}

Quantized requantize(const Quantized& made, const Samples* samples, const Recipe& recipe, const QuantizeOptions& options) {
  Prepared prepared{made.fused, {.gains = {}, .notes = made.preparation_notes}};
  for (const StepGain& gain : made.report.steps)
    if (const quant::StepRule* rule = quant::find_step(gain.step); rule && rule->phase == quant::Phase::before)
      prepared.log.gains.push_back(gain);
  Statistics statistics = restricted(made.statistics, calibrate_options(made.fused, recipe));
  return quantize_fused(std::move(prepared), std::move(statistics), samples, recipe, options);
}

}  // namespace zeropoint
