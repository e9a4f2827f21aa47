// Noise by node: whose rule in a recipe would change it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "analyze/noise.h"
#include "quant/placement.h"

namespace zeropoint::analyze {

// A node's weights, and the values about which it decides (TieGroup::decided_by).
struct NodeNoise {
  std::size_t node = 0;
  double values = 0, weights = 0;    // noise to signal at the outputs
  double values_16 = 0;              // of `values`, what 16-bit activations would leave
  double macs_share = 0;             // of the multiply-accumulates, 0 ... 1
  bool measured = true;              // all of it
  std::vector<std::size_t> sources;  // indices into Noise::sources, the worst first
  double total() const { return values + weights; }
};
// The worst first. `macs` by node, as macs_by_node gives them.
std::vector<NodeNoise> noise_by_node(const Graph& graph, const quant::Placement& placement, const Noise& noise,
                                     const std::vector<std::int64_t>& macs);

// Multiply-accumulates of each node at the shapes of a sample.
std::vector<std::int64_t> macs_by_node(const Graph& graph, const Feeds& feeds);

std::vector<std::vector<std::string>> values_by_group(const quant::Placement& placement);

}  // namespace zeropoint::analyze
