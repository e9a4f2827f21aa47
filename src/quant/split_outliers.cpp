#include "zeropoint/split_outliers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ops/operator.h"
#include "quant/channel_scaling.h"
#include "quant/channel_statistics.h"
#include "quant/weight_ranges.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

// A channel of the widened value: a part of an old one.
struct Part {
  std::size_t channel;
  double share;
};

bool without_groups(const Graph& graph, std::size_t at) {
  const Node& node = graph.nodes[at];
  return quant::is_weighted(graph, node) && node.get_int("group", 1) == 1;
}

// Whether nothing in the group counts its channels: shapes written as constants, numbers by channel that no group knows of.
bool can_widen(const Graph& graph, const Uses& uses, const quant::ScalingGroup& group, bool halve_values) {
  if (group.makers.empty() || group.readers.empty()) return false;
  if (halve_values && !group.limits.empty()) return false;
  const auto fits = [&](std::size_t at) { return without_groups(graph, at); };
  if (!std::all_of(group.makers.begin(), group.makers.end(), fits) ||
      !std::all_of(group.readers.begin(), group.readers.end(), fits))
    return false;
  for (const quant::ScalingGroup::Value& value : group.values)
    if (const auto readers = uses.consumers.find(value.name); readers != uses.consumers.end())
      for (const std::size_t reader : readers->second)
        if (graph.nodes[reader].is("Shape") || graph.nodes[reader].is("Size")) return false;
  return std::none_of(group.between.begin(), group.between.end(), [&](std::size_t at) {
    const Node& node = graph.nodes[at];
    return node.is("Reshape") || node.is("Resize") || node.is("Upsample") ||
           (node.is("PRelu") && graph.constant(node.inputs[1])->size() != 1);
  });
}

std::vector<Part> split(const std::vector<double>& ranges, const SplitOutliersOptions& options) {
  std::vector<Part> parts;
  for (std::size_t c = 0; c < ranges.size(); ++c) parts.push_back({c, 1});
  std::vector<double> sorted = ranges;
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), middle, sorted.end());
  const double ordinary = options.threshold * *middle;
  const auto most = static_cast<std::size_t>(std::ceil(options.ratio * static_cast<double>(ranges.size())));
  const auto size_of = [&](const Part& part) { return ranges[part.channel] * part.share; };
  for (std::size_t i = 0; i < most; ++i) {
    const auto largest =
        std::max_element(parts.begin(), parts.end(), [&](const Part& a, const Part& b) { return size_of(a) < size_of(b); });
    if (!(size_of(*largest) > ordinary)) break;
    largest->share /= 2;
    parts.push_back(Part(*largest));
  }
  return parts;
}

// Along which axis of a constant its channels lie.
std::size_t axis_of(const Dims& dims, const quant::ScaledConstant& constant) {
  std::size_t inner = 1;
  for (std::size_t axis = dims.size(); axis-- > 0;) {
    const auto here = static_cast<std::size_t>(dims[axis]);
    if (inner == constant.inner && here == constant.outer) return axis;
    inner *= here;
  }
  throw Error(ErrorCode::kInternal, "split_outliers", "a constant has no axis of its channels");
}

struct Widening {
  std::size_t axis, repeat;
  const std::vector<Part>* parts;
  bool shared_out;  // each part gets its share; else all of it
};

Tensor widened(const Tensor& old, const Widening& how) {
  Dims dims = old.dims();
  std::size_t inner = how.repeat, outer = 1;
  for (std::size_t i = 0; i < how.axis; ++i) outer *= static_cast<std::size_t>(dims[i]);
  for (std::size_t i = how.axis + 1; i < dims.size(); ++i) inner *= static_cast<std::size_t>(dims[i]);
  const std::size_t before = static_cast<std::size_t>(dims[how.axis]) / how.repeat;
  dims[how.axis] = static_cast<std::int64_t>(how.parts->size() * how.repeat);
  Tensor result(DType::f32, dims);
  const auto src = old.values<float>();
  const auto dst = result.mutable_values<float>();
  for (std::size_t o = 0; o < outer; ++o)
    for (std::size_t p = 0; p < how.parts->size(); ++p) {
      const Part& part = (*how.parts)[p];
      const float factor = how.shared_out ? static_cast<float>(part.share) : 1;  // a power of two
      for (std::size_t i = 0; i < inner; ++i)
        dst[(o * how.parts->size() + p) * inner + i] = factor * src[(o * before + part.channel) * inner + i];
    }
  return result;
}

}  // namespace

Graph split_outliers(Graph fused, const Samples& samples, const SplitOutliersOptions& options, StepLog* log) {
  if (!(options.ratio >= 0 && options.ratio <= 1)) throw Error(ErrorCode::kBadArgument, "ratio", "must be 0 ... 1");
  if (!(options.threshold >= 1)) throw Error(ErrorCode::kBadArgument, "threshold", "must be at least 1");
  std::vector<quant::ScalingGroup> groups = quant::ChannelScaling(fused).all().groups;
  const Uses uses = find_uses(fused);
  std::erase_if(groups, [&](const quant::ScalingGroup& group) { return !can_widen(fused, uses, group, !options.weights); });
  std::vector<std::map<std::string, std::size_t>> observed;
  std::map<std::string, std::size_t> axes;
  for (const quant::ScalingGroup& group : groups) {
    observed.push_back(quant::observed_values(fused, uses, group));
    axes.insert(observed.back().begin(), observed.back().end());
  }
  if (axes.empty()) return fused;
  Statistics statistics;
  if (!options.weights) statistics = quant::channel_statistics(fused, axes, samples, options.run);
  std::vector<std::vector<double>> ones;
  for (const quant::ScalingGroup& group : groups) ones.emplace_back(group.channels, 1.0);
  const quant::WeightRanges weights(fused, groups, ones);

  std::vector<std::vector<Part>> parts;
  double before = 0, after = 0;
  std::size_t touched = 0, added = 0;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    std::vector<double> ranges(groups[g].channels, 0.0);
    if (options.weights) {
      for (const std::size_t reader : groups[g].readers) {
        const std::vector<double> largest = weights.largest(reader, g, true);
        const double most = *std::max_element(largest.begin(), largest.end());
        for (std::size_t c = 0; c < ranges.size() && most > 0; ++c) ranges[c] = std::max(ranges[c], largest[c] / most);
      }
    } else {
      ranges = quant::group_ranges(statistics, observed[g], groups[g].channels);
    }
    parts.push_back(split(ranges, options));
    if (parts.back().size() == ranges.size()) continue;
    ++touched;
    added += parts.back().size() - ranges.size();
    std::vector<double> sizes;
    for (const Part& part : parts.back()) sizes.push_back(part.share * ranges[part.channel]);
    before += quant::mean_levels(ranges);
    after += quant::mean_levels(sizes);
  }
  if (touched == 0) return fused;

  // Both sides of a layer's weights may widen, each along its own axis.
  struct Change {
    const quant::ScaledConstant* constant;
    Widening how;
  };
  std::map<std::pair<std::size_t, std::size_t>, std::vector<Change>> all;
  for (std::size_t g = 0; g < groups.size(); ++g) {
    if (parts[g].size() == groups[g].channels) continue;
    for (const quant::ScaledConstant& constant : groups[g].constants) {
      const Dims& dims = constant.widened.empty() ? fused.constant(fused.nodes[constant.node].inputs[constant.input])->dims()
                                                  : constant.widened;
      // Makers and all that is added on the way give each part its share of a value, readers theirs of a weight.
      all[{constant.node, constant.input}].push_back(
          {&constant, {axis_of(dims, constant), constant.repeat, &parts[g], constant.multiply == options.weights}});
    }
    for (const quant::ScalingGroup::Value& value : groups[g].values) fused.types.erase(value.name);
  }
  for (const auto& [place, changes] : all) {
    std::string& name = fused.nodes[place.first].inputs[place.second];
    Tensor tensor = *fused.constant(name);
    for (const Change& change : changes) tensor = widened(quant::broadcast_along(tensor, *change.constant), change.how);
    const bool own = uses.consumers.find(name)->second.size() == 1 && !fused.is_output(name);
    fused.types.erase(name);
    if (!own) name = unused_name(fused, name + "_split");
    fused.initializers.insert_or_assign(name, std::move(tensor));
  }
  remove_unused_values(fused);
  ops::infer_shapes(fused);
  if (log)
    log->gains.push_back({"split_outliers",
                          fmt::format("channels of {} {}, on average ({} channels added)", touched,
                                      options.weights ? "layers' weights" : "activations", added),
                          options.weights ? "of 255 levels (weights)" : "of 255 levels", before / static_cast<double>(touched),
                          after / static_cast<double>(touched)});
  return fused;
}

}  // namespace zeropoint
