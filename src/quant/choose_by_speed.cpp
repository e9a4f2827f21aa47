#include "quant/choose_by_speed.h"

#include <algorithm>

namespace zeropoint::quant {
namespace {

constexpr double kWorthwhile = 0.98;  // of the time before: less is noise
constexpr std::size_t kMostProposals = 8;

// The worst first.
std::vector<SlowerNode> slower_in_integers(const NodeTimes& in_float, const NodeTimes& quantized) {
  std::vector<SlowerNode> slower;
  for (const auto& [node, seconds] : quantized.seconds) {
    const auto own = in_float.seconds.find(node);
    if (quantized.in_integers.contains(node) && own != in_float.seconds.end() && seconds > own->second)
      slower.push_back({node, own->second, seconds});
  }
  std::stable_sort(slower.begin(), slower.end(), [](const SlowerNode& a, const SlowerNode& b) {
    return a.integer_seconds - a.float_seconds > b.integer_seconds - b.float_seconds;
  });
  return slower;
}

}  // namespace

std::vector<SlowerNode> choose_by_speed(SpeedSource& source) {
  const NodeTimes in_float = source.in_float();
  std::vector<SlowerNode> result;
  NodeNames kept;
  std::vector<SlowerNode> slower = slower_in_integers(in_float, source.quantized(kept));
  for (std::size_t tried = 0; !slower.empty() && tried < kMostProposals; ++tried) {
    NodeNames wanted = kept;
    for (const SlowerNode& node : slower) wanted.insert(node.node);
    if (const auto seconds = source.compare(kept, wanted); seconds && seconds->second < kWorthwhile * seconds->first) {
      kept = std::move(wanted);
      result.insert(result.end(), slower.begin(), slower.end());
      slower = slower_in_integers(in_float, source.quantized(kept));
      std::erase_if(slower, [&](const SlowerNode& node) { return kept.contains(node.node); });
    } else {
      slower.resize(slower.size() / 2);  // alone, the worst may still be worth it
    }
  }
  return result;
}

}  // namespace zeropoint::quant
