#include "quant/scaling_steps.h"

#include <cmath>
#include <utility>

#include "zeropoint/channel_scaling.h"
#include "zeropoint/smooth_quant.h"
#include "zeropoint/split_outliers.h"

namespace zeropoint::quant {
namespace {

ClipMargin clip_margin(const Step& step, const StepContext& context) {
  return {parameter(step, "clip_margin"), context.samples, context.options};
}

}  // namespace

Graph cross_layer_equalization_step(Graph graph, const Step& step, const StepContext& context) {
  return cross_layer_equalization(std::move(graph), clip_margin(step, context), &context.log);
}

Graph equalize_activations_step(Graph graph, const Step& step, const StepContext& context) {
  return equalize_activations(std::move(graph), *context.samples, parameter(step, "strength"), clip_margin(step, context),
                              &context.log);
}

Graph smooth_quant_step(Graph graph, const Step& step, const StepContext& context) {
  SmoothQuantOptions options;
  if (const double alpha = parameter(step, "alpha"); !std::isnan(alpha)) options.alpha = alpha;
  options.explicit_mul = parameter(step, "explicit") != 0;
  options.recipe = &context.recipe;
  options.run = context.options;
  return smooth_quant(std::move(graph), *context.samples, options, &context.log);
}

Graph split_outliers_step(Graph graph, const Step& step, const StepContext& context) {
  return split_outliers(std::move(graph), *context.samples,
                        {.weights = parameter(step, "weights") != 0,
                         .ratio = parameter(step, "ratio"),
                         .threshold = parameter(step, "threshold"),
                         .run = context.options},
                        &context.log);
}

}  // namespace zeropoint::quant
