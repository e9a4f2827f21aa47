#include "quant/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "quant/corrected_biases.h"
#include "quant/layer_steps.h"
#include "quant/scaling_steps.h"
#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

constexpr StepParameter kSamples = {"samples", 128, 1, 1e6, true, "that are run, at most"};
constexpr StepParameter kRows = {"rows", 4096, 64, 1e6, true, "of a layer's inputs that are looked at, at most"};

constexpr StepParameter kGptqParameters[] = {
    {"damping", 0.01, 0, 100, false, "share of the mean diagonal of X^T X that is added to it"},
    {"act_order", 1, 0, 1, true, "1: weights of the largest inputs first"},
    {"sweeps", 20, 0, 1000, true, "of coordinate descent behind it, at most"},
    {"scales", 1, 0, 1, true, "1: weights of few levels may have other scales where that serves the output"},
    {"correct_inputs", 0, 0, 1, false, "share of what the layers before got wrong that weights make up for"},
    kSamples,
    kRows,
};
constexpr StepParameter kAdaRoundParameters[] = {
    {"iterations", 500, 1, 1e6, true, "of Adam, a layer"},
    {"batch", 128, 1, 1e6, true, "rows of an iteration"},
    {"learning_rate", 0.05, 1e-6, 10, false, "of Adam"},
    {"regularization", 5, 0, 1e6, false, "of weights between two integers, beside the output's relative error"},
    {"beta_start", 20, 1, 100, false, "of the regularizer"},
    {"beta_end", 2, 1, 100, false, "of the regularizer"},
    {"warm_up", 0.2, 0, 1, false, "share of the iterations without regularizer"},
    kSamples,
    kRows,
};
constexpr StepParameter kEmpiricalParameters[] = {kSamples, kRows};

constexpr std::array kSteps = {
    StepRule{.name = "cross_layer_equalization",
             .phase = Phase::before,
             .needs_samples = false,
             .parameters = kEqualizationParameters,
             .what = "scales channels so that the weights on both sides of a value have the same ranges",
             .before = &cross_layer_equalization_step},
    StepRule{.name = "equalize_activations",
             .phase = Phase::before,
             .needs_samples = true,
             .parameters = kActivationParameters,
             .what = "scales channels of activations towards one range",
             .before = &equalize_activations_step},
    StepRule{.name = "smooth_quant",
             .phase = Phase::before,
             .needs_samples = true,
             .parameters = kSmoothQuantParameters,
             .what = "moves the spread of activations' channels into the weights of matrix products",
             .before = &smooth_quant_step},
    StepRule{.name = "split_outliers",
             .phase = Phase::before,
             .needs_samples = true,
             .parameters = kSplitParameters,
             .what = "makes several ordinary channels of one that is far larger than the others",
             .before = &split_outliers_step},
    StepRule{.name = "gptq",
             .phase = Phase::rounding,
             .needs_samples = true,
             .parameters = kGptqParameters,
             .what = "rounds weights so that their errors make up for each other on the layer's inputs",
             .after = &gptq_step},
    StepRule{.name = "adaround",
             .phase = Phase::rounding,
             .needs_samples = true,
             .parameters = kAdaRoundParameters,
             .what = "learns for each weight whether it is rounded up or down",
             .after = &adaround_step},
    StepRule{
        .name = "empirical_bias_correction",
        .phase = Phase::correction,
        .needs_samples = true,
        .parameters = kEmpiricalParameters,
        .what = "takes what quantization makes on average, measured layer by layer on the quantized network, off the biases",
        .after = &empirical_bias_correction_step},
    StepRule{.name = "bias_correction",
             .phase = Phase::correction,
             .needs_samples = false,
             .parameters = {},
             .what = "takes what quantized weights make on average, by the means of inputs, off the biases",
             .after = &bias_correction_step},
};

bool needs_samples(const Step& step) {
  const StepRule* rule = find_step(step.name);
  return rule && rule->needs_samples;
}

}  // namespace

std::span<const StepRule> step_rules() { return kSteps; }

const StepRule* find_step(std::string_view name) {
  const auto found = std::find_if(kSteps.begin(), kSteps.end(), [&](const StepRule& rule) { return rule.name == name; });
  return found == kSteps.end() ? nullptr : &*found;
}

double parameter(const Step& step, std::string_view name) {
  for (const auto& [key, value] : step.parameters)
    if (key == name) return value;
  for (const StepParameter& each : find_step(step.name)->parameters)
    if (each.name == name) return each.fallback;
  throw Error(ErrorCode::kInternal, step.name, fmt::format("has no parameter '{}'", name));
}

void check_samples(const Recipe& recipe, const Samples* samples) {
  if (samples) return;
  const auto found = std::find_if(recipe.steps.begin(), recipe.steps.end(), &needs_samples);
  if (found != recipe.steps.end())
    throw Error(ErrorCode::kBadArgument, fmt::format("step '{}'", found->name),
                "it runs the network: give samples in place of statistics, or leave the step out");
}

Graph run_before(Graph graph, const StepContext& context) {
  for (const Step& step : context.recipe.steps)
    if (const StepRule* rule = find_step(step.name); rule && rule->phase == Phase::before)
      graph = rule->before(std::move(graph), step, context);
  return graph;
}

void run_after(Rounding& rounding, const StepContext& context) {
  check_samples(context.recipe, context.samples);
  for (const Phase phase : {Phase::rounding, Phase::correction})
    for (const Step& step : context.recipe.steps)
      if (const StepRule* rule = find_step(step.name); rule && rule->phase == phase) rule->after(rounding, step, context);
}

}  // namespace zeropoint::quant
