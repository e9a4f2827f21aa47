#include "quant/weight_ranges.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace zeropoint::quant {

WeightRanges::WeightRanges(const Graph& graph, const std::vector<ScalingGroup>& groups,
                           const std::vector<std::vector<double>>& factors)
    : graph_(graph), groups_(groups), factors_(factors) {
  for (std::size_t g = 0; g < groups.size(); ++g)
    for (const ScaledConstant& constant : groups[g].constants) {
      if (!constant.weight) continue;
      Sides& sides = sides_[constant.node];
      (constant.multiply ? sides.read : sides.made) = {&constant, g};
    }
}

template <class F>
void WeightRanges::for_each(std::size_t node, const F& f) const {
  const Sides& sides = sides_.at(node);
  const auto weights = graph_.constant(graph_.nodes[node].inputs[1])->values<float>();
  // Elements of one step have the same channels on both sides.
  std::size_t step = weights.size();
  for (const Side& side : {sides.made, sides.read})
    if (side.constant) step = std::min(step, side.constant->inner);
  for (std::size_t first = 0; first < weights.size(); first += step) {
    double factor = 1;
    if (sides.read.constant) factor *= factors_[sides.read.group][sides.read.constant->channel(first)];
    if (sides.made.constant) factor /= factors_[sides.made.group][sides.made.constant->channel(first)];
    for (std::size_t i = first; i < first + step; ++i) f(static_cast<double>(std::abs(weights[i])) * factor, i);
  }
}

std::vector<double> WeightRanges::largest(std::size_t node, std::size_t group, bool reads) const {
  const Sides& sides = sides_.at(node);
  const ScaledConstant& constant = *(reads ? sides.read : sides.made).constant;
  std::vector<double> result(groups_[group].channels, 0.0);
  for_each(node, [&](double w, std::size_t i) {
    double& channel = result[constant.channel(i)];
    channel = std::max(channel, w);
  });
  return result;
}

std::vector<std::size_t> WeightRanges::nodes_of(const std::vector<std::size_t>& groups) const {
  std::set<std::size_t> nodes;
  for (const std::size_t group : groups)
    for (const ScaledConstant& constant : groups_[group].constants)
      if (constant.weight) nodes.insert(constant.node);
  return {nodes.begin(), nodes.end()};
}

double WeightRanges::mean_share(const std::vector<std::size_t>& groups) const {
  double logarithms = 0;
  std::size_t channels = 0;
  for (const std::size_t group : groups)
    for (const ScaledConstant& constant : groups_[group].constants) {
      if (!constant.weight) continue;
      const std::vector<double> ranges = largest(constant.node, group, constant.multiply);
      const double most = *std::max_element(ranges.begin(), ranges.end());
      for (const double range : ranges) {
        if (!(range > 0)) continue;
        logarithms += std::log(range / most);
        ++channels;
      }
    }
  return channels == 0 ? 1 : std::exp(logarithms / static_cast<double>(channels));
}

}  // namespace zeropoint::quant
