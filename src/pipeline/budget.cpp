#include "zeropoint/budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "pipeline/budget_cache.h"
#include "pipeline/requantize.h"
#include "pipeline/speed.h"
#include "quant/rule_matcher.h"
#include "quant/steps.h"
#include "zeropoint/error.h"
#include "zeropoint/sensitivity.h"

namespace zeropoint {
namespace {

constexpr std::size_t kRankingSamples = 8;
constexpr char kHalf[] = "fp16", kFewBits[] = "static_w4a8", kAtRunTime[] = "dynamic_w8a8", kBetterRounding[] = "gptq";

bool is_known(const char* recipe) {
  const std::vector<std::string> names = recipes::names();
  return std::ranges::find(names, recipe) != names.end();
}

// Statistics of another recipe don't serve it.
bool needs_own_calibration(const Recipe& recipe) {
  return std::ranges::any_of(recipe.steps, [](const Step& step) {
    const quant::StepRule* rule = quant::find_step(step.name);
    return rule && (rule->needs_samples || rule->phase == quant::Phase::before);
  });
}

// `recipe` for the one node alone.
std::vector<Rule> rules_for(const std::string& node, const Recipe& recipe) {
  std::vector<Rule> rules = recipe.rules;
  std::erase_if(rules, [](const Rule& rule) { return rule.scope != ".*"; });
  for (Rule& rule : rules) rule.scope = quant::scope_of_name(node);
  return rules;
}

bool keeps_float(const Rule& rule) { return !rule.activation && !rule.weight && rule.float_type == DType::f32; }

void add_float_rules(const Recipe& from, Recipe& to) {
  for (const Rule& rule : from.rules)
    if (keeps_float(rule)) to.rules.push_back(rule);
}

// What is tried next when a level misses the budget: some of its nodes at the level above.
struct Level {
  std::string label;
  Recipe recipe;
  const Recipe* above = nullptr;  // null: float
  std::string above_label = "float";

  // What the caller keeps in float stays there, whatever a node's turn gives it.
  Recipe protecting(const std::vector<std::string>& nodes, std::size_t count) const {
    Recipe result = recipe;
    for (std::size_t i = 0; i < count; ++i) {
      if (!above) {
        result.keep_float(quant::scope_of_name(nodes[i]));
        continue;
      }
      const std::vector<Rule> rules = rules_for(nodes[i], *above);
      result.rules.insert(result.rules.end(), rules.begin(), rules.end());
    }
    if (above) add_float_rules(*above, result);
    return result;
  }
};

class Search {
 public:
  Search(const Graph& graph, const Samples& samples, const Metric& metric, const Budget& budget, const Recipe& recipe,
         const BudgetOptions& options)
      : graph_(graph), samples_(samples), metric_(metric), options_(options), fused_(fuse(graph)), cache_(options.cache) {
    options_.quantize.progress = nullptr;
    options_.quantize.verify = false;      // the metric judges
    options_.quantize.checkpoint.clear();  // of one calibration; the search has a record of its own
    options_.quantize.resume = false;
    options_.quantize.timed_on.clear();
    cache_.begin(cache_identity(fused_, samples, metric, options.quantize.interrupt), options.resume);
    report_.metric = metric.name;
    report_.larger_is_better = metric.larger_is_better;
    report_.float_bytes = constant_bytes(fused_);
    report_.float_value = value_of_float();
    report_.limit = limit_of(budget);
    base_ = {.label = recipe.name, .recipe = recipe};
  }

  Quantized run() {
    if (is_known(kHalf)) attempt(kHalf, targeted(recipes::named(kHalf)));
    const bool whole = descend(base_);
    // Recurrent cells and some transformers are faster so; what it costs to know is one evaluation.
    if (base_.recipe.needs_samples()) attempt(kAtRunTime, targeted(recipes::named(kAtRunTime)));
    if (whole && options_.objective == Objective::smallest && base_.recipe.needs_samples() && is_known(kFewBits))
      descend({.label = kFewBits,
               .recipe = targeted(recipes::named(kFewBits)),
               .above = &base_.recipe,
               .above_label = base_.label});
    mark_pareto();
    const std::size_t chosen = choose();
    report_.tried[chosen].chosen = true;
    report_.met = report_.tried[chosen].within;
    const TriedModel& best = report_.tried[chosen];
    Quantized result = make_whole(parse_recipe(best.recipe), options_.quantize);
    if (best.seconds > best.float_seconds)
      result.report.notes.insert(
          result.report.notes.begin(),
          fmt::format("warning: on this machine a run takes {:.2f} times as long as the float model's: nothing that was tried "
                      "within the budget is faster",
                      best.seconds / best.float_seconds));
    result.report.budget = report_;
    result.report.notes.insert(result.report.notes.begin(), notes_.begin(), notes_.end());
    cache_.remove();
    return result;
  }

 private:
  double value_of_float() {
    if (const auto known = cache_.float_value()) return *known;
    const double value = metric_.value(graph_);
    cache_.set_float_value(value);
    return value;
  }

  double limit_of(const Budget& budget) const {
    if (budget.max_drop.has_value() == budget.limit.has_value())
      throw Error(ErrorCode::kBadArgument, "budget", "give the largest drop or a limit of the metric, one of the two");
    if (budget.limit) return *budget.limit;
    if (!std::isfinite(report_.float_value))
      throw Error(ErrorCode::kBadArgument, "budget",
                  fmt::format("the float model's {} is {}, which nothing can be measured from; give a limit of the metric in "
                              "place of a drop",
                              metric_.name, report_.float_value));
    return metric_.larger_is_better ? report_.float_value - *budget.max_drop : report_.float_value + *budget.max_drop;
  }

  Recipe targeted(Recipe recipe) const {
    recipe.target = base_.recipe.target;
    add_float_rules(base_.recipe, recipe);
    return recipe;
  }

  bool better(double a, double b) const { return metric_.larger_is_better ? a > b : a < b; }

  // Whether the level as a whole is within the budget, perhaps with better rounded weights.
  bool descend(const Level& level) {
    const auto whole = attempt(level.label, level.recipe);
    if (!whole) return false;  // nothing in it for this recipe
    if (*whole) return true;
    if (level.recipe.needs_samples() && !level.recipe.has_step(kBetterRounding)) {
      Recipe rounded = level.recipe;
      rounded.add_step({.name = kBetterRounding, .parameters = {}});
      if (attempt(fmt::format("{}, {}", level.label, kBetterRounding), rounded).value_or(false)) return true;
    }
    if (!level.recipe.needs_samples() || report_.tried.size() >= options_.most_evaluations) return false;
    const std::vector<std::string> nodes = most_sensitive(level);
    const auto protect = [&](std::size_t count) {
      return attempt(fmt::format("{}, {} {} in {}", level.label, count, count == 1 ? "node" : "nodes", level.above_label),
                     level.protecting(nodes, count))
          .value_or(true);
    };
    std::size_t missed = 0, met = 1;
    while (met < nodes.size() && !protect(met)) missed = std::exchange(met, met * 2);
    met = std::min(met, nodes.size());
    while (met - missed > 1) {
      const std::size_t middle = missed + (met - missed) / 2;
      (protect(middle) ? met : missed) = middle;
    }
    return false;
  }

  // Judges the model that a recipe makes. Nothing when it makes none, or no evaluation is left.
  std::optional<bool> attempt(const std::string& label, const Recipe& recipe) {
    const std::string json = to_json(recipe);
    const auto same = [&](const TriedModel& tried) { return tried.recipe == json; };
    if (const auto known = std::ranges::find_if(report_.tried, same); known != report_.tried.end()) return known->within;
    if (report_.tried.size() >= options_.most_evaluations) return std::nullopt;
    TriedModel tried{.label = label, .recipe = json};
    if (const TriedModel* known = cache_.find(json)) {
      tried = *known;
      tried.label = label;
    } else {
      Graph model;
      try {
        model = make(recipe);
      } catch (const Error& error) {
        if (error.code != ErrorCode::kUnsupported) throw;  // nothing is left to quantize
        notes_.push_back(fmt::format("{}: not tried: {}", label, error.what()));
        return std::nullopt;
      }
      judge(model, tried);
      cache_.add(tried);
    }
    tried.within = !better(report_.limit, tried.value);
    if (options_.tried) options_.tried(tried);
    report_.tried.push_back(tried);
    return tried.within;
  }

  void judge(const Graph& model, TriedModel& tried) const {
    tried.bytes = constant_bytes(model);
    tried.value = metric_.value(model);
    if (std::isnan(tried.value))
      throw Error(ErrorCode::kBadArgument, "metric " + metric_.name, "it gave NaN for the model '" + tried.label + "'");
    if (options_.timed_on.empty()) return;
    const SessionOptions session{
        .threads = options_.quantize.threads, .max_isa = options_.quantize.max_isa, .shapes = options_.quantize.shapes};
    const Timing timing = on_this_machine(options_.timed_on, session, options_.quantize.interrupt);
    std::tie(tried.float_seconds, tried.seconds) = timing.compare(fused_, model);
  }

  // The statistics of the first level serve every recipe that leaves more in float.
  Graph make(const Recipe& recipe) {
    if (!recipe.needs_samples() || needs_own_calibration(recipe)) return make_whole(recipe, options_.quantize).model;
    if (!statistics_) statistics_ = calibrate(fused_, samples_, calibrate_options(fused_, base_.recipe, options_.quantize));
    if (calibrate_options(fused_, recipe).values.empty()) return make_whole(recipe, options_.quantize).model;
    return quantize(graph_, *statistics_, recipe, options_.quantize).model;
  }

  Quantized make_whole(const Recipe& recipe, const QuantizeOptions& options) const {
    return quantize(graph_, samples_, recipe, options);
  }

  // Nodes that the level quantizes, by the error at the outputs that each alone causes, the largest first.
  std::vector<std::string> most_sensitive(const Level& level) {
    Sensitivity found = sensitivity(graph_, samples_, level.recipe,
                                    {.threads = options_.quantize.threads,
                                     .max_isa = options_.quantize.max_isa,
                                     .shapes = options_.quantize.shapes,
                                     .samples = kRankingSamples,
                                     .restored = 0,
                                     .max_memory = options_.quantize.max_memory,
                                     .allow_non_finite = options_.quantize.allow_non_finite,
                                     .interrupt = options_.quantize.interrupt});
    std::vector<std::string> names;
    for (NodeSensitivity& node : found.nodes) names.push_back(std::move(node.node));
    return names;
  }

  // How good a model is by the objective, less is better.
  std::pair<double, double> cost(const TriedModel& model) const {
    const double seconds = model.float_seconds > 0 ? model.seconds / model.float_seconds : 0,
                 bytes = static_cast<double>(model.bytes);
    return options_.objective == Objective::fastest ? std::pair(seconds, bytes) : std::pair(bytes, seconds);
  }

  void mark_pareto() {
    for (TriedModel& model : report_.tried)
      model.pareto = std::ranges::none_of(report_.tried, [&](const TriedModel& other) {
        const auto [a, b] = cost(other);
        const auto [c, d] = cost(model);
        const bool no_worse = a <= c && b <= d && !better(model.value, other.value);
        return no_worse && (a < c || b < d || better(other.value, model.value));
      });
  }

  std::size_t choose() const {
    if (report_.tried.empty()) throw Error(ErrorCode::kUnsupported, "graph", "the recipe finds nothing in it to quantize");
    std::size_t best = 0;
    for (std::size_t i = 1; i < report_.tried.size(); ++i) {
      const TriedModel &one = report_.tried[i], &other = report_.tried[best];
      if (one.within != other.within) {
        if (one.within) best = i;
      } else if (one.within ? cost(one) < cost(other) : better(one.value, other.value)) {
        best = i;
      }
    }
    return best;
  }

  const Graph& graph_;
  const Samples& samples_;
  const Metric& metric_;
  BudgetOptions options_;
  Graph fused_;
  BudgetCache cache_;
  std::optional<Statistics> statistics_;
  Level base_;
  BudgetReport report_;
  std::vector<std::string> notes_;
};

}  // namespace

Quantized quantize_within(const Graph& graph, const Samples& samples, const Metric& metric, const Budget& budget,
                          const Recipe& recipe, const BudgetOptions& options) {
  return Search(graph, samples, metric, budget, recipe, options).run();
}

}  // namespace zeropoint
