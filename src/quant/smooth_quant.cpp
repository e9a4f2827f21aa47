#include "zeropoint/smooth_quant.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <exception>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "quant/activation_ranges.h"
#include "quant/channel_scaling.h"
#include "quant/channel_statistics.h"
#include "quant/rule_matcher.h"
#include "quant/weight_ranges.h"
#include "zeropoint/cpu.h"
#include "zeropoint/error.h"
#include "zeropoint/quantize_tensor.h"
#include "zeropoint/ranges.h"

namespace zeropoint {
namespace {

constexpr std::size_t kRows = 64;  // to judge factors by
constexpr int kAlphas = 10;        // tried in steps of 1 / 10
constexpr double kMostFactor = 1e5, kMostDb = 200;

bool is_product(const Graph& graph, const Node& node) {
  if (!node.is("Gemm") && !node.is("MatMul")) return false;
  return quant::is_weighted(graph, node) && graph.constant(node.input(1))->rank() == 2 && node.get_int("transA", 0) == 0;
}
bool output_first(const Node& node) { return node.is("Gemm") && node.get_int("transB", 0) != 0; }  // [N, K], else [K, N]

// An activation and the products that read it.
struct Site {
  std::string value;
  std::vector<std::size_t> products;
  quant::ScalingGroup group;
  bool folded = false;  // else a Mul is put in
  Scheme activation, weight;
};

// The readers' side alone, for an activation whose makers cannot take factors.
std::optional<quant::ScalingGroup> readers_alone(const Graph& graph, const Uses& uses,
                                                 const std::vector<std::size_t>& products) {
  quant::ScalingGroup group;
  for (const std::size_t at : products) {
    const Node& node = graph.nodes[at];
    const std::string& name = node.inputs[1];
    const Tensor& weight = *graph.constant(name);
    if (uses.consumers.find(name)->second.size() != 1 || graph.is_output(name)) return std::nullopt;
    const bool flip = output_first(node);
    const auto rows = static_cast<std::size_t>(weight.dim(flip ? 1 : 0));
    if (group.channels != 0 && group.channels != rows) return std::nullopt;
    group.channels = rows;
    group.readers.push_back(at);
    quant::ScaledConstant constant;
    constant.node = at;
    constant.input = 1;
    constant.inner = flip ? 1 : static_cast<std::size_t>(weight.dim(1));
    constant.outer = rows;
    constant.multiply = constant.weight = true;
    group.constants.push_back(constant);
  }
  return group;
}

class Sites {
 public:
  Sites(const Graph& graph, const SmoothQuantOptions& options)
      : graph_(graph), options_(options), scaling_(graph), uses_(find_uses(graph)) {
    if (options.recipe) matcher_.emplace(*options.recipe);
  }

  std::vector<Site> find() {
    std::map<std::string, std::vector<std::size_t>> readers;
    std::vector<std::string> order;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (!is_product(graph_, node) || !schemes(node)) continue;
      std::vector<std::size_t>& products = readers[node.inputs[0]];
      if (products.empty()) order.push_back(node.inputs[0]);
      products.push_back(i);
    }
    std::vector<Site> sites;
    std::set<std::string> done;  // values of groups: one group may hold several that are read
    for (const std::string& value : order) {
      if (done.contains(value)) continue;
      Site site{value, readers.at(value), {}, false, {}, {}};
      std::tie(site.activation, site.weight) = *schemes(graph_.nodes[site.products.front()]);
      quant::ScalingAttempt attempt = scaling_.find(value, quant::sum_axis(graph_, graph_.nodes[site.products.front()]));
      if (foldable(attempt)) {
        for (const quant::ScalingGroup::Value& each : attempt.group.values) done.insert(each.name);
        site.group = std::move(attempt.group);
        site.folded = true;
      } else if (options_.explicit_mul) {
        auto alone = readers_alone(graph_, uses_, site.products);
        if (!alone) continue;
        site.group = std::move(*alone);
      } else {
        ++left_;
        continue;
      }
      sites.push_back(std::move(site));
    }
    return sites;
  }
  std::size_t left() const { return left_; }

 private:
  // Of activation and weights where both will be integers.
  std::optional<std::pair<Scheme, Scheme>> schemes(const Node& node) const {
    Scheme activation, weight{.dtype = DType::s8, .granularity = PerChannel{}, .symmetric = true};
    if (matcher_) {
      const std::optional<std::size_t> rule = matcher_->last_match(node);
      if (!rule || !options_.recipe->rules[*rule].activation || !options_.recipe->rules[*rule].weight) return std::nullopt;
      activation = *options_.recipe->rules[*rule].activation;
      weight = *options_.recipe->rules[*rule].weight;
    }
    return std::pair(activation, weight);
  }
  // All that reads the group are products of the value itself, or of one that is the same up to its shape.
  bool foldable(const quant::ScalingAttempt& attempt) const {
    const quant::ScalingGroup& group = attempt.group;
    return attempt.obstacle.empty() && group.limits.empty() && !group.makers.empty() && !group.readers.empty() &&
           std::all_of(group.readers.begin(), group.readers.end(),
                       [&](std::size_t reader) { return is_product(graph_, graph_.nodes[reader]); });
  }

  const Graph& graph_;
  const SmoothQuantOptions& options_;
  quant::ChannelScaling scaling_;
  Uses uses_;
  std::optional<quant::RuleMatcher> matcher_;
  std::size_t left_ = 0;
};

// Quantized products against float ones, on rows of an activation.
class Trial {
 public:
  Trial(const Graph& graph, const Site& site, std::span<const std::vector<float>> rows, const std::vector<float>& largest)
      : site_(site), rows_(rows.size()), depth_(site.group.channels), largest_(largest) {
    for (const std::vector<float>& row : rows) x_.insert(x_.end(), row.begin(), row.end());
    for (const std::size_t product : site.products) {
      const Node& node = graph.nodes[product];
      const Tensor& weight = *graph.constant(node.inputs[1]);
      const auto values = weight.values<float>();
      const std::size_t columns = values.size() / depth_;
      std::vector<float> plain(values.begin(), values.end());
      if (output_first(node))
        for (std::size_t k = 0; k < depth_; ++k)
          for (std::size_t n = 0; n < columns; ++n) plain[k * columns + n] = values[n * depth_ + k];
      exact_.push_back(product_of(x_, plain));
      weights_.push_back(std::move(plain));
    }
  }

  // 10 log10(sum y^2 / sum (y - y_quantized)^2), mean over the products.
  double db(const std::vector<double>& s) const {
    std::vector<float> x = x_;
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(static_cast<double>(x[i]) / s[i % depth_]);
    quantize_activation(x, s);
    double sum = 0;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      const std::vector<float> y = product_of(x, rounded_weights(weights_[i], s));
      double squares = 0, errors = 0;
      for (std::size_t e = 0; e < y.size(); ++e) {
        const auto exact = static_cast<double>(exact_[i][e]), error = exact - static_cast<double>(y[e]);
        squares += exact * exact;
        errors += error * error;
      }
      sum += errors == 0 ? kMostDb : std::min(kMostDb, 10 * std::log10(std::max(squares, 1e-300) / errors));
    }
    return sum / static_cast<double>(weights_.size());
  }
  // Of several factors at once.
  std::vector<double> db(const std::vector<std::vector<double>>& factors, ThreadPool& pool) const {
    std::vector<double> result(factors.size(), 0.0);
    std::vector<std::exception_ptr> errors(static_cast<std::size_t>(pool.threads()));
    pool.run([&](int part) {
      try {
        for (auto i = static_cast<std::size_t>(part); i < factors.size(); i += errors.size()) result[i] = db(factors[i]);
      } catch (...) {
        errors[static_cast<std::size_t>(part)] = std::current_exception();
      }
    });
    for (const std::exception_ptr& error : errors)
      if (error) std::rethrow_exception(error);
    return result;
  }

 private:
  std::vector<float> product_of(const std::vector<float>& x, const std::vector<float>& w) const {
    const std::size_t columns = w.size() / depth_;
    std::vector<float> y(rows_ * columns, 0.0F);
    for (std::size_t m = 0; m < rows_; ++m) {
      float* out = y.data() + m * columns;
      for (std::size_t k = 0; k < depth_; ++k) {
        const float factor = x[m * depth_ + k];
        const float* row = w.data() + k * columns;
        for (std::size_t n = 0; n < columns; ++n) out[n] += factor * row[n];
      }
    }
    return y;
  }
  void quantize_activation(std::vector<float>& x, const std::vector<double>& s) const {
    Scheme scheme = site_.activation;
    ValueStatistics seen;
    seen.samples = 1;
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    seen.min = *low;
    seen.max = *high;
    Range range{seen.min, seen.max};
    if (scheme.dynamic || scheme.range == "min_max" || scheme.range == "averaged_min_max") {
      // The rows are few: the samples' largest values, as they are now, decide how far it reaches.
      double reach = 0;
      for (std::size_t k = 0; k < depth_; ++k) reach = std::max(reach, static_cast<double>(largest_[k]) / s[k]);
      const double shown = std::max(std::abs(static_cast<double>(*low)), std::abs(static_cast<double>(*high)));
      const double wider = shown > 0 ? std::max(1.0, reach / shown) : 1;
      range = {static_cast<float>(static_cast<double>(range.min) * wider),
               static_cast<float>(static_cast<double>(range.max) * wider)};
    } else {
      seen.histogram.add(x);
      range = quant::choose_range(seen, scheme);
    }
    const ScaleZeroPoint chosen = choose_scale(range, limits_of(scheme), scheme.symmetric);
    const QParams qparams{scheme.dtype, PerTensor{}, {chosen.scale}, {chosen.zero_point}};
    const Tensor tensor = Tensor::of<float>({static_cast<std::int64_t>(x.size())}, x);
    const Tensor back = dequantize_tensor(quantize_tensor(tensor, qparams, limits_of(scheme)), qparams);
    std::copy(back.values<float>().begin(), back.values<float>().end(), x.begin());
  }
  std::vector<float> rounded_weights(const std::vector<float>& w, const std::vector<double>& s) const {
    const std::size_t columns = w.size() / depth_;
    Tensor scaled(DType::f32, {static_cast<std::int64_t>(depth_), static_cast<std::int64_t>(columns)});
    const auto values = scaled.mutable_values<float>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(static_cast<double>(w[i]) * s[i / columns]);
    Scheme scheme = site_.weight;
    if (std::holds_alternative<PerChannel>(scheme.granularity)) scheme.granularity = PerChannel{1};
    if (auto* groups = std::get_if<PerGroup>(&scheme.granularity)) groups->axis = 0;
    const QParams qparams = choose_qparams(scaled, scheme);
    const Tensor back = dequantize_tensor(quantize_tensor(scaled, qparams, limits_of_weight(qparams)), qparams);
    return {back.values<float>().begin(), back.values<float>().end()};
  }

  const Site& site_;
  std::size_t rows_, depth_;
  const std::vector<float>& largest_;  // |x| of each channel on all samples
  std::vector<float> x_;
  std::vector<std::vector<float>> weights_, exact_;  // [K, N], [rows, N]
};

// Equation 4. Channels without values or weights fit any factor.
std::vector<double> factors(const std::vector<float>& values, const std::vector<double>& weights, double alpha) {
  std::vector<double> s(values.size(), 1.0);
  for (std::size_t k = 0; k < s.size(); ++k) {
    if (!(values[k] > 0) || !(weights[k] > 0)) continue;
    s[k] = std::pow(static_cast<double>(values[k]), alpha) / std::pow(weights[k], 1 - alpha);
    s[k] = std::clamp(s[k], 1 / kMostFactor, kMostFactor);
  }
  return s;
}

// Puts y[c] = x[c] / s[c] between a value and the products that read it.
void insert_division(Graph& graph, const Site& site, const std::vector<double>& s,
                     std::map<std::size_t, std::vector<Node>>& before) {
  Tensor reciprocals(DType::f32, {static_cast<std::int64_t>(s.size())});
  for (std::size_t k = 0; k < s.size(); ++k) reciprocals.mutable_values<float>()[k] = static_cast<float>(1 / s[k]);
  const std::string constant = unused_name(graph, site.value + "_smoothing");
  graph.initializers.emplace(constant, std::move(reciprocals));
  const std::string smoothed = unused_name(graph, site.value + "_smoothed");
  graph.types[smoothed] = graph.type_of(site.value);
  Node node;
  node.name = smoothed;
  node.op_type = "Mul";
  node.inputs = {site.value, constant};
  node.outputs = {smoothed};
  for (const std::size_t product : site.products) graph.nodes[product].inputs[0] = smoothed;
  before[site.products.front()].push_back(std::move(node));
}

}  // namespace

Graph smooth_quant(Graph fused, const Samples& samples, const SmoothQuantOptions& options, StepLog* log) {
  if (options.alpha && !(*options.alpha >= 0 && *options.alpha <= 1))
    throw Error(ErrorCode::kBadArgument, "alpha", "must be 0 ... 1");
  Sites finder(fused, options);
  const std::vector<Site> sites = finder.find();
  if (log && finder.left() > 0)
    log->notes.push_back(
        fmt::format("smooth_quant: {} activations stay as they are, as what makes or reads them can't take "
                    "factors; the parameter explicit=1 puts a Mul in front of their products",
                    finder.left()));
  if (sites.empty()) return fused;
  std::map<std::string, std::size_t> axes;
  std::vector<std::string> values;
  std::size_t deepest = 0;
  for (const Site& site : sites) {
    axes.emplace(site.value, quant::sum_axis(fused, fused.nodes[site.products.front()]));
    values.push_back(site.value);
    deepest = std::max(deepest, site.group.channels);
  }
  const Statistics statistics =
      quant::channel_statistics(fused, axes, samples, options.run, values, kRows * deepest * sizeof(float));

  ThreadPool pool(options.run.threads > 0 ? options.run.threads : physical_cores());
  std::vector<quant::ScalingGroup> groups;
  std::vector<std::vector<double>> scales;
  std::vector<const Site*> applied;
  std::map<std::size_t, std::vector<Node>> inserted;  // in front of which node
  double before = 0, after = 0;
  std::size_t products = 0;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const Site& site = sites[i];
    if (options.run.interrupt && *options.run.interrupt) throw Error(ErrorCode::kInterrupted, "smooth_quant", "interrupted");
    const ValueStatistics& seen = *statistics.find(site.value);
    const std::vector<float> largest = quant::channel_ranges(seen, site.group.channels);
    const std::size_t rows = std::min(kRows, seen.rows.size());
    if (rows == 0 || seen.rows[0].size() != site.group.channels) continue;
    const std::vector<quant::ScalingGroup> alone{site.group};
    const std::vector<std::vector<double>> ones{std::vector<double>(site.group.channels, 1.0)};
    const quant::WeightRanges ranges(fused, alone, ones);
    std::vector<double> weights(site.group.channels, 0.0);
    for (const std::size_t reader : site.group.readers) {
      const std::vector<double> of_reader = ranges.largest(reader, 0, true);
      for (std::size_t k = 0; k < weights.size(); ++k) weights[k] = std::max(weights[k], of_reader[k]);
    }
    const Trial trial(fused, site, std::span(seen.rows).first(rows), largest);
    const double plain = trial.db(ones[0]);
    std::vector<double> best = ones[0];
    double best_db = plain;
    if (options.alpha) {
      best = factors(largest, weights, *options.alpha);
      best_db = trial.db(best);
    } else {
      std::vector<std::vector<double>> tried;
      for (int step = 0; step <= kAlphas; ++step)
        tried.push_back(factors(largest, weights, static_cast<double>(step) / kAlphas));
      const std::vector<double> db = trial.db(tried, pool);
      const auto most = std::max_element(db.begin(), db.end());
      if (*most > best_db) {
        best_db = *most;
        best = std::move(tried[static_cast<std::size_t>(most - db.begin())]);
      }
    }
    if (options.run.progress) options.run.progress("smooth_quant", i + 1, sites.size());
    if (best == ones[0]) continue;
    before += plain;
    after += best_db;
    ++products;
    applied.push_back(&site);
    groups.push_back(site.group);
    scales.push_back(std::move(best));
  }
  quant::scale_channels(fused, groups, scales);
  for (std::size_t i = 0; i < applied.size(); ++i)
    if (!applied[i]->folded) insert_division(fused, *applied[i], scales[i], inserted);
  if (!inserted.empty()) {
    std::vector<Node> nodes;
    nodes.reserve(fused.nodes.size() + inserted.size());
    for (std::size_t i = 0; i < fused.nodes.size(); ++i) {
      if (const auto found = inserted.find(i); found != inserted.end())
        for (Node& node : found->second) nodes.push_back(std::move(node));
      nodes.push_back(std::move(fused.nodes[i]));
    }
    fused.nodes = std::move(nodes);
  }
  if (log && products > 0)
    log->gains.push_back({"smooth_quant", fmt::format("outputs of the products of {} activations", products), "dB",
                          before / static_cast<double>(products), after / static_cast<double>(products)});
  return fused;
}

}  // namespace zeropoint
