#include "analyze/causes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "quant/constant_ranges.h"
#include "quant/rule_matcher.h"
#include "zeropoint/ranges.h"

namespace zeropoint::analyze {
namespace {

constexpr double kMaskRatio = 100, kLeastMask = 1000;  // how far masks lie from all other values
constexpr double kOutlierShare = 0.999;                // of the values that outliers leave
constexpr double kOutlierRatio = 8;                    // three of eight bits are lost to outliers
constexpr double kSpreadRatio = 16;                    // four bits between the median channel and the largest
constexpr double kConcatRatio = 8;
constexpr double kSaturated = 0.001;
constexpr double kWidened = 1.01;
constexpr std::size_t kMostLevels = 257;  // that bytes and their zeros fill

bool is_recurrent(const Node& node) { return node.is("LSTM") || node.is("GRU") || node.is("RNN"); }

bool is_depthwise(const Graph& graph, const Node& node) {
  const Tensor* weight = graph.constant(node.input(1));
  return node.is("Conv") && weight && weight->rank() >= 3 && node.get_int("group", 1) > 1 && weight->dim(1) == 1;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string percent(double share) { return fmt::format("{:.2g} %", 100 * share); }

// One that knows the graph around a value.
class Doctor {
 public:
  Doctor(const Patient& patient, const NodeNoise& node, const Noise& noise)
      : patient_(patient), node_(node), noise_(noise), self_(patient.graph.nodes[node.node]), uses_(find_uses(patient.graph)) {}

  Diagnosis run() const {
    const NoiseSource& worst = noise_.sources[node_.sources.front()];
    std::optional<Diagnosis> found = worst.values.empty() ? of_weights(worst) : of_values(worst);
    return found ? *std::move(found) : drift(worst);
  }

 private:
  const Node* maker(const std::string& value) const {
    const auto found = uses_.producer.find(value);
    return found == uses_.producer.end() ? nullptr : &patient_.graph.nodes[found->second];
  }
  std::vector<const Node*> readers(const std::string& value) const {
    std::vector<const Node*> result;
    if (const auto found = uses_.consumers.find(value); found != uses_.consumers.end())
      for (const std::size_t i : found->second) result.push_back(&patient_.graph.nodes[i]);
    return result;
  }
  std::string wide() const { return to_json(wide_rule(patient_.graph, node_.node, patient_.recipe)); }
  std::string in_float() const { return to_json(float_rule(patient_.graph, node_.node)); }
  const quant::TieGroup* group_of(const std::string& value) const {
    for (const quant::TieGroup& group : patient_.placement.groups)
      if (std::binary_search(group.values.begin(), group.values.end(), value)) return &group;
    return nullptr;
  }

  std::optional<Diagnosis> of_values(const NoiseSource& source) const {
    for (const std::string& value : source.values) {
      std::vector<const Node*> around = readers(value);
      if (const Node* made_by = maker(value)) around.push_back(made_by);
      for (const Node* node : around)
        if (is_recurrent(*node))
          return Diagnosis{
              "recurrent",
              fmt::format("'{}' enters or leaves {}, which hands its errors on from step to step", value, describe(*node)),
              "16-bit activations for it, or float", wide()};
    }
    const quant::TieGroup* group = group_of(source.values.front());
    const std::vector<std::string>& sources = group ? group->sources : source.values;
    for (const std::string& value : sources)
      if (std::optional<Diagnosis> found = mask(value)) return found;
    for (const std::string& value : sources)
      if (std::optional<Diagnosis> found = index_or_byte(value)) return found;
    if (std::optional<Diagnosis> found = mixed_concat(source, sources)) return found;
    for (const std::string& value : sources)
      if (std::optional<Diagnosis> found = channel_spread(value)) return found;
    for (const std::string& value : sources)
      if (std::optional<Diagnosis> found = outlier(value)) return found;
    if (source.saturated >= kSaturated)
      return Diagnosis{
          "saturation",
          fmt::format("{} of '{}' lie beyond the range that was chosen", percent(source.saturated), source.values.front()),
          "the range of all that was seen (min_max) in 16-bit activations", wide()};
    if (is_depthwise(patient_.graph, self_))
      return Diagnosis{
          "depthwise_few_levels",
          fmt::format("each sum of {} has only {} products, which average little out, of values with 256 levels",
                      describe(self_),
                      patient_.graph.constant(self_.input(1))->size() / patient_.graph.constant(self_.input(1))->dim(0)),
          "16-bit activations for it", wide()};
    return std::nullopt;
  }

  // Values of which some stand at one number far below all others.
  std::optional<Diagnosis> mask(const std::string& value) const {
    const ValueStatistics* seen = patient_.statistics.find(value);
    if (!seen || seen->count() == 0) return std::nullopt;
    const HistogramView view = seen->view();
    const double lowest = view.min();
    if (lowest > -kLeastMask) return std::nullopt;
    const double share = view.count_below(lowest / 2) / static_cast<double>(view.count());
    double others = std::abs(view.max());
    for (const HistogramBin& bin : view.bins())
      if (bin.high > lowest / 2) {
        others = std::max(others, std::abs(bin.low));
        break;
      }
    if (share <= 0 || -lowest < kMaskRatio * others) return std::nullopt;
    return Diagnosis{
        "mask_value",
        fmt::format("{} of '{}' lie near {:.3g}, all others within {:.3g}: a mask, which leaves no levels for the others",
                    percent(share), value, lowest, others),
        "keep it in float, or mask with a number just below the others", in_float()};
  }

  std::optional<Diagnosis> index_or_byte(const std::string& value) const {
    const ValueStatistics* seen = patient_.statistics.find(value);
    const Node* made_by = maker(value);
    const bool enters =
        !made_by || (made_by->is("Cast") && !is_float(ValueIndex(patient_.graph).type_of(made_by->input(0)).dtype));
    if (!seen || !enters || seen->count() == 0) return std::nullopt;
    const HistogramView view = seen->view();
    if (view.max() < 2 || view.min() < 0) return std::nullopt;
    const bool whole = std::all_of(view.bins().begin(), view.bins().end(),
                                   [](const HistogramBin& bin) { return std::floor(bin.high) >= bin.low; });
    if (!whole || (view.max() <= 255 && view.bins().size() > kMostLevels)) return std::nullopt;
    const bool bytes = view.max() <= 255;
    return Diagnosis{
        "index_or_byte_input", fmt::format("'{}' holds whole numbers up to {:.0f}", value, view.max()),
        bytes ? "the range 0 ... 255, which loses nothing" : "16-bit activations: 8 bits hold no more than 256 numbers",
        wide()};
  }

  std::optional<Diagnosis> mixed_concat(const NoiseSource& source, const std::vector<std::string>& sources) const {
    std::set<std::string> parts(sources.begin(), sources.end());
    const Node* concat = nullptr;
    for (const std::string& value : source.values)
      for (const Node* node = maker(value); node; node = maker(node->input(0))) {
        if (node->is("Concat")) {
          concat = node;
          break;
        }
        if (!node->is("Relu") && !node->is("Reshape") && !node->is("Transpose") && !node->is("MaxPool")) break;
      }
    if (!concat) return std::nullopt;
    parts.insert(concat->inputs.begin(), concat->inputs.end());
    double least = 0, most = 0;
    std::string smallest, largest;
    const auto reaches = [&](const std::string& value, double reach) {
      if (reach == 0) return;
      if (smallest.empty() || reach < least) least = reach, smallest = value;
      if (reach > most) most = reach, largest = value;
    };
    for (const std::string& value : parts)
      if (const ValueStatistics* seen = patient_.statistics.find(value);
          seen && seen->count() > 0 && std::find(concat->inputs.begin(), concat->inputs.end(), value) != concat->inputs.end())
        reaches(value, std::max(std::abs(static_cast<double>(seen->min)), std::abs(static_cast<double>(seen->max))));
    // Of parts without a quantizer of their own: by their channels in the joined value.
    const ValueStatistics* joined = patient_.statistics.find(source.values.front());
    if (largest.empty() && joined && !joined->channel_max.empty()) {
      const ValueIndex types(patient_.graph);
      std::size_t at = 0;
      for (const std::string& value : concat->inputs) {
        const TensorType type = types.type_of(value);
        const auto rank = type.shape ? static_cast<std::int64_t>(type.shape->size()) : 0;
        const std::int64_t axis = joined->channel_axis < 0 ? joined->channel_axis + rank : joined->channel_axis;
        std::int64_t joint = concat->get_int("axis", 0);
        if (joint < 0) joint += rank;
        if (axis != joint || axis >= rank || axis < 0 || !(*type.shape)[static_cast<std::size_t>(axis)].fixed())
          return std::nullopt;
        const std::size_t end = at + static_cast<std::size_t>((*type.shape)[static_cast<std::size_t>(axis)].value);
        if (end > joined->channel_max.size()) return std::nullopt;
        double reach = 0;
        for (; at < end; ++at) reach = std::max(reach, static_cast<double>(joined->channel_max[at]));
        reaches(value, reach);
      }
    }
    if (smallest.empty() || most < kConcatRatio * least) return std::nullopt;
    return Diagnosis{"mixed_concat",
                     fmt::format("{} joins '{}' within {:.3g} and '{}' within {:.3g} under one scale", describe(*concat),
                                 smallest, least, largest, most),
                     "16-bit activations for what reads the joined value, or scale the parts alike before", wide()};
  }

  std::optional<Diagnosis> channel_spread(const std::string& value) const {
    const ValueStatistics* seen = patient_.statistics.find(value);
    if (!seen || seen->channel_max.size() < 2) return std::nullopt;
    const double middle = median({seen->channel_max.begin(), seen->channel_max.end()});
    const auto largest = std::max_element(seen->channel_max.begin(), seen->channel_max.end());
    const auto most = static_cast<double>(*largest);
    if (most <= 0 || most < kSpreadRatio * middle) return std::nullopt;
    const bool product = self_.is("MatMul") || self_.is("Gemm");
    return Diagnosis{"wide_channel_spread",
                     fmt::format("channel {} of '{}' reaches {:.3g}, the median channel {:.3g}",
                                 largest - seen->channel_max.begin(), value, most, middle),
                     product ? "16-bit activations for it, or the step smooth_quant, which moves the spread into the weights"
                             : "16-bit activations for it, or the step cross_layer_equalization, which evens the channels out",
                     wide()};
  }

  std::optional<Diagnosis> outlier(const std::string& value) const {
    const ValueStatistics* seen = patient_.statistics.find(value);
    if (!seen || seen->count() == 0) return std::nullopt;
    const HistogramView magnitudes = seen->view().magnitudes();
    const double most = magnitudes.max(), usual = magnitudes.quantile(kOutlierShare);
    if (most <= 0 || most < kOutlierRatio * usual) return std::nullopt;
    return Diagnosis{"outlier_range",
                     fmt::format("'{}' reaches {:.3g}, 99.9 % of it only {:.3g}: {:.0f} of 256 levels", value, most, usual,
                                 std::ceil(256 * usual / most)),
                     "16-bit activations for it, or a range that cuts the outliers (percentile, mse)", wide()};
  }

  std::optional<Diagnosis> of_weights(const NoiseSource& source) const {
    const Tensor* weight = patient_.graph.constant(source.weight);
    const auto chosen = patient_.qparams.find(source.weight);
    if (!weight || chosen == patient_.qparams.end()) return std::nullopt;
    const QParams& qparams = chosen->second;
    if (is_recurrent(self_))
      return Diagnosis{"recurrent", describe(self_) + " hands the errors of its weights on from step to step",
                       "keep it in float", in_float()};
    const auto quantized_weight = patient_.placement.weights.find(source.weight);
    const int axis = quantized_weight == patient_.placement.weights.end() ? 0 : quantized_weight->second.axis;
    const std::vector<std::vector<float>> channels = quant::split_by_parameter(*weight, PerChannel{axis});
    std::vector<double> reach;
    for (const std::vector<float>& channel : channels) {
      double most = 0;
      for (const float w : channel) most = std::max(most, std::abs(static_cast<double>(w)));
      reach.push_back(most);
    }
    const double high = limits_of_weight(qparams).high, all = *std::max_element(reach.begin(), reach.end());
    const bool per_channel = qparams.scale.size() == reach.size() && reach.size() > 1;
    // Scales that the bias widened, and the part of the error that is theirs.
    std::size_t widened = 0;
    double worst = 1, theirs = 0, everyones = 0;
    for (std::size_t c = 0; c < channels.size(); ++c) {
      const double scale = static_cast<double>(qparams.scale[per_channel ? c : 0]), own = per_channel ? reach[c] : all;
      double error = 0;
      for (const float w : channels[c])
        error += std::pow(static_cast<double>(w) - scale * std::nearbyint(static_cast<double>(w) / scale), 2);
      everyones += error;
      if (own <= 0 || scale * high <= kWidened * own) continue;
      ++widened;
      theirs += error;
      worst = std::max(worst, scale * high / own);
    }
    if (widened > 0 && theirs > everyones / 2)
      return Diagnosis{"clipped_bias",
                       fmt::format("the bias of {} is so large beside its weights that {} of {} scales were widened, by up to "
                                   "{:.3g}, to fit it into 32 bits",
                                   describe(self_), widened, channels.size(), worst),
                       "keep it in float, or add the large part of the bias behind it", in_float()};
    if (!per_channel && reach.size() > 1) {
      const double middle = median(reach), most = all;
      if (most >= kSpreadRatio * middle)
        return Diagnosis{"wide_channel_spread",
                         fmt::format("weights of {} reach {:.3g} in one channel, {:.3g} in the median one, under one scale",
                                     describe(self_), most, middle),
                         "a scale for each channel (weight granularity per_channel), or the step cross_layer_equalization",
                         R"({"name": "cross_layer_equalization"})"};
    }
    if (is_depthwise(patient_.graph, self_))
      return Diagnosis{"depthwise_few_levels",
                       fmt::format("each sum of {} has only {} products, which average little out", describe(self_),
                                   weight->size() / weight->dim(0)),
                       "keep it in float: it does little of the work", in_float()};
    return std::nullopt;
  }

  Diagnosis drift(const NoiseSource& worst) const {
    return {
        "accumulating_drift",
        fmt::format("no single reason: {} with an SQNR of {:.1f} dB where {}, added to what comes before",
                    worst.values.empty() ? "its weights" : fmt::format("'{}'", worst.values.front()), decibels(worst.local),
                    worst.values.empty() ? "they multiply" : "it stands"),
        worst.values.empty() ? "better rounding (the step adaround or gptq), or keep it in float" : "16-bit activations for it",
        worst.values.empty() ? in_float() : wide()};
  }

  const Patient& patient_;
  const NodeNoise& node_;
  const Noise& noise_;
  const Node& self_;
  Uses uses_;
};

}  // namespace

Diagnosis diagnose(const Patient& patient, const NodeNoise& node, const Noise& noise) {
  return Doctor(patient, node, noise).run();
}

Rule wide_rule(const Graph& graph, std::size_t node, const Recipe& recipe) {
  Rule rule{.scope = quant::scope_of_name(quant::name_of(graph.nodes[node]))};
  if (const auto matched = quant::RuleMatcher(recipe).last_match(graph.nodes[node])) {
    rule.activation = recipe.rules[*matched].activation;
    rule.weight = recipe.rules[*matched].weight;
  }
  if (!rule.activation) rule.activation = Scheme{};
  rule.activation->dtype = DType::u16;
  rule.activation->bits = 0;
  rule.activation->symmetric = false;
  rule.activation->range = "min_max";
  rule.activation->parameter = 0;
  return rule;
}

Rule float_rule(const Graph& graph, std::size_t node) {
  return {.scope = quant::scope_of_name(quant::name_of(graph.nodes[node]))};
}

std::string to_json(const Rule& rule) {
  Recipe recipe;
  recipe.rules = {rule};
  return nlohmann::ordered_json::parse(zeropoint::to_json(recipe)).at("rules").at(0).dump();
}

}  // namespace zeropoint::analyze
