#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "quant/channel_scaling.h"
#include "quant/channel_statistics.h"
#include "quant/factor_bounds.h"
#include "zeropoint/channel_scaling.h"
#include "zeropoint/error.h"

namespace zeropoint {
Graph equalize_activations(Graph fused, const Samples& samples, double strength, const ClipMargin& clips, StepLog* log) {
  if (!(strength >= 0 && strength <= 1)) throw Error(ErrorCode::kBadArgument, "strength", "must be 0 ... 1");
  std::vector<quant::ScalingGroup> groups = quant::ChannelScaling(fused).all().groups;
  std::erase_if(groups, [](const quant::ScalingGroup& group) { return group.makers.empty() || group.readers.empty(); });
  ClipMargin room = clips;
  room.samples = &samples;
  const std::vector<std::vector<quant::FactorBounds>> bounds = quant::factor_bounds(fused, groups, room);

  const Uses uses = find_uses(fused);
  std::map<std::string, std::size_t> axes;
  std::vector<std::map<std::string, std::size_t>> of_group;
  for (const quant::ScalingGroup& group : groups) {
    of_group.push_back(quant::observed_values(fused, uses, group));
    axes.insert(of_group.back().begin(), of_group.back().end());
  }
  if (axes.empty()) return fused;
  const Statistics statistics = quant::channel_statistics(fused, axes, samples, clips.options);

  std::vector<std::vector<double>> factors;
  double before = 0, after = 0;
  std::size_t touched = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    const std::size_t channels = groups[g].channels;
    std::vector<double> ranges = quant::group_ranges(statistics, of_group[g], channels);
    const double most = *std::max_element(ranges.begin(), ranges.end());
    std::vector<double>& factor = factors.emplace_back(channels, 1.0);
    if (most == 0) continue;
    for (std::size_t c = 0; c < channels; ++c)
      if (ranges[c] > 0) factor[c] = quant::within(std::pow(ranges[c] / most, strength), bounds[g][c]);
    if (std::all_of(factor.begin(), factor.end(), [](double s) { return s == 1; })) continue;
    ++touched;
    before += quant::mean_levels(ranges);
    for (std::size_t c = 0; c < channels; ++c) ranges[c] /= factor[c];
    after += quant::mean_levels(ranges);
  }
  if (log && touched > 0)
    log->gains.push_back({"equalize_activations", fmt::format("channels of {} activations, on average", touched),
                          "of 255 levels", before / static_cast<double>(touched), after / static_cast<double>(touched)});
  quant::scale_channels(fused, groups, factors);
  return fused;
}

}  // namespace zeropoint
