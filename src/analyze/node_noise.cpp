#include "analyze/node_noise.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "ops/operator.h"
#include "quant/advice.h"

namespace zeropoint::analyze {

std::vector<std::int64_t> macs_by_node(const Graph& graph, const Feeds& feeds) {
  Graph shaped = graph;
  std::map<std::string, Dims> dims;
  for (const auto& [input, tensor] : feeds) dims[input] = tensor.dims();
  ops::infer_shapes(shaped, dims);
  const ValueIndex types(shaped);
  std::vector<std::int64_t> macs;
  for (const Node& node : shaped.nodes) macs.push_back(quant::macs_with_bodies(types, node));
  return macs;
}

std::vector<std::vector<std::string>> values_by_group(const quant::Placement& placement) {
  std::vector<std::vector<std::string>> groups;
  for (const quant::TieGroup& group : placement.groups) groups.push_back(group.values);
  return groups;
}

std::vector<NodeNoise> noise_by_node(const Graph& graph, const quant::Placement& placement, const Noise& noise,
                                     const std::vector<std::int64_t>& macs) {
  std::map<std::string, std::size_t> decides;
  for (const quant::TieGroup& group : placement.groups)
    for (const std::string& value : group.values) decides[value] = group.decided_by;
  const auto all_macs =
      static_cast<double>(std::max<std::int64_t>(1, std::accumulate(macs.begin(), macs.end(), std::int64_t{0})));
  std::map<std::size_t, NodeNoise> by_node;
  for (std::size_t s = 0; s < noise.sources.size(); ++s) {
    const NoiseSource& source = noise.sources[s];
    std::size_t node = source.node;
    if (!source.values.empty()) {
      const auto found = decides.find(source.values.front());
      if (found == decides.end()) continue;
      node = found->second;
    }
    if (node >= graph.nodes.size()) continue;
    NodeNoise& entry = by_node[node];
    entry.node = node;
    entry.macs_share = node < macs.size() ? static_cast<double>(macs[node]) / all_macs : 0;
    entry.measured = entry.measured && source.measured;
    entry.sources.push_back(s);
    if (source.values.empty()) {
      entry.weights += source.noise;
    } else {
      entry.values += source.noise;
      entry.values_16 += source.local > 0 ? source.noise * source.local_16 / source.local : 0;
    }
  }
  std::vector<NodeNoise> result;
  for (auto& [node, entry] : by_node) result.push_back(std::move(entry));
  std::stable_sort(result.begin(), result.end(), [](const NodeNoise& a, const NodeNoise& b) { return a.total() > b.total(); });
  return result;
}

}  // namespace zeropoint::analyze
