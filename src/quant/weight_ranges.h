// Ranges of weights by channel, under factors that are not applied yet.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "quant/channel_scaling.h"

namespace zeropoint::quant {

class WeightRanges {
 public:
  // All three must outlive this; `factors` may change between calls.
  WeightRanges(const Graph& graph, const std::vector<ScalingGroup>& groups, const std::vector<std::vector<double>>& factors);

  // Largest |w| of each channel of a group in the weights of a node that reads (or makes) it.
  std::vector<double> largest(std::size_t node, std::size_t group, bool reads) const;
  // Nodes with weights that make or read one of the groups, ascending.
  std::vector<std::size_t> nodes_of(const std::vector<std::size_t>& groups) const;
  // How much of its layer's range a channel has, r[c] / max r (equation 7 of Nagel et al. 2019): geometric mean over the
  // channels of the groups' values on both sides. Factors move ranges from side to side, so only smaller maxima make it grow.
  double mean_share(const std::vector<std::size_t>& groups) const;

 private:
  struct Side {
    const ScaledConstant* constant = nullptr;
    std::size_t group = 0;
  };
  struct Sides {
    Side made, read;
  };
  // Calls f(|w|, i) for the weights of a node as they are under the factors.
  template <class F>
  void for_each(std::size_t node, const F& f) const;

  const Graph& graph_;
  const std::vector<ScalingGroup>& groups_;
  const std::vector<std::vector<double>>& factors_;
  std::map<std::size_t, Sides> sides_;  // by node
};

}  // namespace zeropoint::quant
