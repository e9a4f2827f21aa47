#include "quant/factor_bounds.h"

#include <algorithm>
#include <map>
#include <string>

#include "quant/channel_statistics.h"
#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

double upper_limit(const Graph& graph, const Node& clip) {
  if (clip.find("max")) return static_cast<double>(clip.get_float("max", 0));
  return static_cast<double>(graph.constant(clip.input(2))->values<float>()[0]);
}

}  // namespace

void check(const ClipMargin& clips) {
  if (clips.margin == 0) return;
  if (!(clips.margin >= 1)) throw Error(ErrorCode::kBadArgument, "clip_margin", "must be 0, or 1 and more");
  if (!clips.samples)
    throw Error(ErrorCode::kBadArgument, "clip_margin",
                "which values a Clip never limits is known from samples: give some, or 0");
}

double within(double factor, const FactorBounds& bounds) { return std::clamp(factor, bounds.least, bounds.most); }

std::vector<std::vector<FactorBounds>> factor_bounds(const Graph& graph, const std::vector<ScalingGroup>& groups,
                                                     const ClipMargin& clips) {
  check(clips);
  std::vector<std::vector<FactorBounds>> bounds;
  std::map<std::string, std::size_t> axes;
  for (const ScalingGroup& group : groups) {
    const bool limited = !group.limits.empty();
    bounds.emplace_back(group.channels,
                        limited && clips.margin == 0 ? FactorBounds{1, 1} : FactorBounds{kLeastFactor, kMostFactor});
    if (clips.margin == 0) continue;
    for (const std::size_t node : group.limits)
      for (const ScalingGroup::Value& value : group.values)
        if (value.name == graph.nodes[node].outputs[0]) axes.emplace(value.name, value.axis);
  }
  if (axes.empty()) return bounds;
  const Statistics statistics = channel_statistics(graph, axes, *clips.samples, clips.options);
  for (std::size_t g = 0; g < groups.size(); ++g)
    for (const std::size_t node : groups[g].limits) {
      const Node& clip = graph.nodes[node];
      const std::vector<float> seen = channel_ranges(*statistics.find(clip.outputs[0]), groups[g].channels);
      const double limit = upper_limit(graph, clip);
      for (std::size_t c = 0; c < groups[g].channels; ++c) {
        const double reached = clips.margin * static_cast<double>(seen[c]);
        FactorBounds& bound = bounds[g][c];
        // v / s must stay below the limit for every v up to `reached`, and so must v itself.
        if (reached >= limit)
          bound = {1, 1};
        else if (bound.least != bound.most)
          bound.least = std::max(bound.least, reached / limit);
      }
    }
  return bounds;
}

}  // namespace zeropoint::quant
