// The steps that scale channels before calibration.
#pragma once

#include <limits>

#include "quant/steps.h"

namespace zeropoint::quant {

Graph cross_layer_equalization_step(Graph graph, const Step& step, const StepContext& context);
Graph equalize_activations_step(Graph graph, const Step& step, const StepContext& context);
Graph smooth_quant_step(Graph graph, const Step& step, const StepContext& context);
Graph split_outliers_step(Graph graph, const Step& step, const StepContext& context);

inline constexpr double kSearched = std::numeric_limits<double>::quiet_NaN();
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
inline constexpr StepParameter kSmoothQuantParameters[] = {
    {"alpha", kSearched, 0, 1, false, "share of the spread that goes to the weights; absent: searched for each activation"},
    {"explicit", 0, 0, 1, true, "1: a Mul in front of the products where nothing else can take the factors"}};
inline constexpr StepParameter kSplitParameters[] = {
    {"weights", 0, 0, 1, true, "1: split outliers of weights in place of those of activations"},
    {"ratio", 0.02, 0, 1, false, "share of channels that may be added"},
    {"threshold", 2, 1, 1e6, false, "split channels more than so many times the median"}};

}  // namespace zeropoint::quant
