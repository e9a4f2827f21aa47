// Which factors the channels of a group may take where Clips with an upper limit stand in it.
#pragma once

#include <vector>

#include "quant/channel_scaling.h"
#include "zeropoint/channel_scaling.h"

namespace zeropoint::quant {

struct FactorBounds {
  double least, most;
};
// For each group and channel. Groups without such Clips may take any factor; without a margin the others none but 1.
std::vector<std::vector<FactorBounds>> factor_bounds(const Graph& graph, const std::vector<ScalingGroup>& groups,
                                                     const ClipMargin& clips);
// factor clamped to them
double within(double factor, const FactorBounds& bounds);

// Throws Error kBadArgument for a margin that is neither 0 nor at least 1, or that lacks samples.
void check(const ClipMargin& clips);

inline constexpr double kLeastFactor = 0x1p-16, kMostFactor = 0x1p16;  // far from what fp32 cannot hold

}  // namespace zeropoint::quant
