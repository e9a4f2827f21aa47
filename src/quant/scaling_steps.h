// The steps that scale channels before calibration.
#pragma once

#include "quant/steps.h"

namespace zeropoint::quant {

Graph cross_layer_equalization_step(Graph graph, const Step& step, const StepContext& context);
Graph equalize_activations_step(Graph graph, const Step& step, const StepContext& context);

inline constexpr StepParameter kClipMargin = {"clip_margin",
                                              0,
                                              0,
                                              1000,
                                              false,
                                              "scale channels behind a Clip, too, whose values stay this many times below its "
                                              "limit on the samples; 0: none"};
inline constexpr StepParameter kEqualizationParameters[] = {kClipMargin};
inline constexpr StepParameter kActivationParameters[] = {
    {"strength", 0.5, 0, 1, false, "1: all channels get the range of the largest"}, kClipMargin};

}  // namespace zeropoint::quant
