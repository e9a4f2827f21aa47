#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "quant/channel_scaling.h"
#include "quant/factor_bounds.h"
#include "quant/weight_ranges.h"
#include "zeropoint/channel_scaling.h"

namespace zeropoint {
namespace {

constexpr int kMostRounds = 40;
constexpr double kLevels = 127;    // of 8 bits, symmetric
constexpr double kSettled = 1e-3;  // of a factor's logarithm

// Each channel's largest, as a share of its layer's; the largest over the layers. `whole`: the largest of all, not as a share.
struct Shares {
  std::vector<double> share;
  double whole = 0;
};
Shares shares(const quant::WeightRanges& ranges, const std::vector<std::size_t>& nodes, std::size_t group, bool readers,
              std::size_t channels) {
  Shares result{std::vector<double>(channels, 0.0)};
  for (const std::size_t node : nodes) {
    const std::vector<double> largest = ranges.largest(node, group, readers);
    const double of_layer = *std::max_element(largest.begin(), largest.end());
    if (of_layer == 0) continue;
    result.whole = std::max(result.whole, of_layer);
    for (std::size_t c = 0; c < channels; ++c) result.share[c] = std::max(result.share[c], largest[c] / of_layer);
  }
  return result;
}

bool only_weighted(const Graph& graph, const quant::ScalingGroup& group) {
  const auto weighted = [&](std::size_t node) { return quant::is_weighted(graph, graph.nodes[node]); };
  return !group.makers.empty() && !group.readers.empty() && std::all_of(group.makers.begin(), group.makers.end(), weighted) &&
         std::all_of(group.readers.begin(), group.readers.end(), weighted);
}

}  // namespace

Graph cross_layer_equalization(Graph fused, const ClipMargin& clips, StepLog* log) {
  quant::check(clips);
  std::vector<quant::ScalingGroup> groups = quant::ChannelScaling(fused).all().groups;
  std::erase_if(groups, [&](const quant::ScalingGroup& group) { return !only_weighted(fused, group); });
  const std::vector<std::vector<quant::FactorBounds>> bounds = quant::factor_bounds(fused, groups, clips);
  std::vector<std::vector<double>> factors;
  std::vector<std::size_t> open;  // groups with a channel that may be scaled
  std::size_t behind_clips = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    factors.emplace_back(groups[g].channels, 1.0);
    if (std::any_of(bounds[g].begin(), bounds[g].end(), [](const auto& bound) { return bound.least != bound.most; }))
      open.push_back(g);
    else
      ++behind_clips;
  }
  const quant::WeightRanges ranges(fused, groups, factors);
  const std::vector<std::size_t> touched = ranges.nodes_of(open);
  const double before = kLevels * ranges.mean_share(open);

  double largest_change = open.empty() ? 0 : 2 * kSettled;
  for (int round = 0; round < kMostRounds && largest_change > kSettled; ++round) {
    largest_change = 0;
    for (const std::size_t g : open) {
      const quant::ScalingGroup& group = groups[g];
      const Shares made = shares(ranges, group.makers, g, false, group.channels),
                   read = shares(ranges, group.readers, g, true, group.channels);
      if (!(made.whole > 0) || !(read.whole > 0) || !std::isfinite(made.whole + read.whole)) continue;
      // With limits around, channels that cannot move set the unit; else both layers get the same largest.
      const double unit = group.limits.empty() ? std::sqrt(made.whole / read.whole) : 1;
      for (std::size_t c = 0; c < group.channels; ++c) {
        // A channel that is never made or read fits any factor: that of the layers as a whole.
        const bool dead = made.share[c] == 0 || read.share[c] == 0;
        const double change = unit * (dead ? 1 : std::sqrt(made.share[c] / read.share[c]));
        const double factor = quant::within(factors[g][c] * change, bounds[g][c]);
        largest_change = std::max(largest_change, std::abs(std::log(factor / factors[g][c])));
        factors[g][c] = factor;
      }
    }
  }
  if (log && !touched.empty())
    log->gains.push_back({"cross_layer_equalization",
                          fmt::format("weight channels of {} layers under one scale a tensor, geometric mean", touched.size()),
                          "of 127 levels", before, kLevels * ranges.mean_share(open)});
  if (log && behind_clips > 0)
    log->notes.push_back(
        fmt::format("cross_layer_equalization: {} of {} places stand before a Clip with an upper limit that "
                    "acts, or may act, and stay as they are",
                    behind_clips, groups.size()));
  quant::scale_channels(fused, groups, factors);
  return fused;
}

}  // namespace zeropoint
