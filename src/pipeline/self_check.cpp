#include "pipeline/self_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "analyze/causes.h"
#include "analyze/node_noise.h"
#include "analyze/noise.h"
#include "analyze/output_check.h"
#include "pipeline/float_search.h"
#include "quant/placement.h"
#include "quant/rule_matcher.h"
#include "quant/steps.h"
#include "quant/without_data.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

constexpr int kMostRounds = 6;
constexpr double kAnyGain = 0.05, kLeastGain = 0.5;  // dB that a round must bring: while the model is not sound, and once it is
constexpr double kMargin = 0.7;                      // of the noise allowed, that repairs aim at
constexpr double kNegligible = 0.01;                 // of the noise: not worth a repair
// Repairs of models that are sound: 16-bit activations of nodes that have much of the noise and little of the work.
constexpr double kCheapNoise = 0.005, kCheapRatio = 2, kCheapMacs = 0.2, kCheapGain = 0.4, kCheapDb = 1;
constexpr std::size_t kSamples = 4, kCheapSamples = 8;
constexpr double kMacs = 3e11, kCheapMostMacs = 6e10;  // of all runs that look for what loses
constexpr double kStepShare = 0.5, kStepDb = 1;        // of the noise that a step is tried for; what it must bring
constexpr char kSpread[] = "wide_channel_spread";
// Models made to find out which nodes go to float; with a step that takes long.
constexpr int kMostTries = 24, kMostLongTries = 8;

double power(double db) { return std::pow(10, -db / 10); }

bool can_be_wide(const Recipe& recipe) { return recipe.target != Target::openvino; }

// Below 8 bits a loss is what was asked for: it is told, not repaired.
bool asks_for_few_bits(const Recipe& recipe) {
  const auto few = [](const std::optional<Scheme>& scheme) {
    return scheme && !scheme->dynamic && (scheme->bits != 0 ? scheme->bits : bits(scheme->dtype)) < 8;
  };
  return std::any_of(recipe.rules.begin(), recipe.rules.end(),
                     [&](const Rule& rule) { return few(rule.activation) || few(rule.weight); });
}

bool has_long_step(const Recipe& recipe) {
  return std::any_of(recipe.steps.begin(), recipe.steps.end(), [](const Step& step) {
    const quant::StepRule* rule = quant::find_step(step.name);
    return rule && rule->phase != quant::Phase::before && rule->needs_samples;
  });
}

// One way to make a node lose less.
struct Remedy {
  std::size_t node = 0;
  bool wide = false;  // else float
  double gain = 0;    // of noise
  double price = 0;
};

class SelfCheckRun {
 public:
  SelfCheckRun(Quantized quantized, const Samples& check, const Samples& learn, const Requantize& requantize,
               const SelfCheckOptions& options)
      : best_(std::move(quantized)),
        learn_(learn),
        requantize_(requantize),
        options_(options),
        reference_(best_.fused, check, {options.threads, options.max_isa, options.shapes, options.interrupt}) {}

  Quantized run() {
    analyze::OutputCheck now = check(best_.model);
    SelfCheck result{.samples = reference_.samples(), .before_db = now.sqnr_db, .least_db = options_.least_db};
    if (now.outputs.empty()) {
      result.samples = 0;
      result.reason = "no output of f32 keeps its dimensions, so there is nothing to compare";
      best_.report.self_check = result;
      return std::move(best_);
    }
    std::vector<Repair> repairs;
    const Recipe recipe = parse_recipe(best_.model.metadata.at(kRecipeKey));
    if (!recipe.checked && !asks_for_few_bits(recipe)) {
      if (!sound(now))
        repair(now, repairs);
      else if (now.sqnr_db < options_.good_db)
        improve(now, repairs);
    }
    result.sqnr_db = now.sqnr_db;
    result.top1_agreement = now.top1_agreement;
    result.sound = sound(now);
    if (!result.sound)
      result.reason =
          now.sqnr_db < options_.least_db
              ? fmt::format("the outputs have an SQNR of {:.1f} dB, less than {:.0f}", now.sqnr_db, options_.least_db)
              : fmt::format("the top class is that of the float model in {:.0f} % of the rows, fewer than {:.0f} %",
                            100 * now.top1_agreement.value_or(0), 100 * options_.least_agreement);
    best_.report.self_check = result;
    if (!repairs.empty()) mark_as_checked();
    best_.report.repairs = std::move(repairs);
    if (!best_.report.integer_coverage) best_.report.integer_coverage = now.integer_coverage;
    return std::move(best_);
  }

 private:
  analyze::OutputCheck check(const Graph& model) const {
    analyze::OutputCheck result = reference_.check(model);
    if (std::isnan(result.sqnr_db)) result.sqnr_db = -std::numeric_limits<double>::infinity();
    return result;
  }
  bool sound(const analyze::OutputCheck& now) const {
    return now.sqnr_db >= options_.good_db ||
           (now.sqnr_db >= options_.least_db && now.top1_agreement.value_or(1) >= options_.least_agreement);
  }

  // Whoever quantizes by this recipe gets this file.
  void mark_as_checked() {
    std::string& text = best_.model.metadata.at(kRecipeKey);
    Recipe recipe = parse_recipe(text);
    recipe.checked = true;
    text = to_json(recipe);
    best_.report.recipe_json = text;
  }

  // What the present model loses, where.
  struct Findings {
    Recipe recipe;
    quant::Placement placement;
    analyze::Noise noise;
    std::vector<analyze::NodeNoise> nodes;

    const analyze::NodeNoise& of(std::size_t node) const {
      return *std::find_if(nodes.begin(), nodes.end(), [&](const auto& each) { return each.node == node; });
    }
    double macs_share(std::size_t node) const {  // 0 where nothing is known of it
      const auto known = std::find_if(nodes.begin(), nodes.end(), [&](const auto& each) { return each.node == node; });
      return known == nodes.end() ? 0 : known->macs_share;
    }
  };
  Findings look(std::size_t samples, double most_macs) const {
    Findings found{.recipe = parse_recipe(best_.model.metadata.at(kRecipeKey))};
    found.placement = quant::place(best_.fused, quant::static_part(found.recipe));
    const analyze::NoiseOptions how{.threads = options_.threads,
                                    .max_isa = options_.max_isa,
                                    .shapes = options_.shapes,
                                    .samples = samples,
                                    .groups = analyze::values_by_group(found.placement),
                                    .most_macs = most_macs,
                                    .interrupt = options_.interrupt};
    found.noise = analyze::measure_noise(best_.fused, best_.model, learn_, how);
    found.nodes = analyze::noise_by_node(best_.fused, found.placement, found.noise,
                                         analyze::macs_by_node(best_.fused, reference_.feeds(0)));
    return found;
  }

  // A convolution has a quantizer behind it even where nobody reads integers: in float a node loses as much by that of the
  // convolution before it, whose rule then decides.
  std::vector<std::size_t> convolutions_before(const Findings& found, std::size_t node) const {
    std::vector<std::size_t> result;
    if (!can_be_wide(found.recipe)) return result;
    const analyze::NodeNoise& own = found.of(node);
    if (own.values < own.weights) return result;
    const Uses uses = find_uses(best_.fused);
    for (const std::size_t s : own.sources)
      for (std::string value : found.noise.sources[s].values) {
        auto made_by = uses.producer.find(value);
        while (made_by != uses.producer.end() &&
               (best_.fused.nodes[made_by->second].is("Relu") || best_.fused.nodes[made_by->second].is("Clip"))) {
          value = best_.fused.nodes[made_by->second].input(0);
          made_by = uses.producer.find(value);
        }
        if (made_by == uses.producer.end() || made_by->second == node || !best_.fused.nodes[made_by->second].is("Conv"))
          continue;
        const auto integer =
            std::find(found.placement.integer_nodes.begin(), found.placement.integer_nodes.end(), made_by->second);
        if (integer != found.placement.integer_nodes.end()) result.push_back(made_by->second);
      }
    return result;
  }

  // Makes the model with these remedies; keeps it where it gains at least so much.
  bool apply(const Findings& found, const std::vector<Remedy>& remedies, double least_gain, analyze::OutputCheck& now,
             std::vector<Repair>& repairs) {
    const Graph& graph = best_.fused;
    const analyze::Patient patient{graph, best_.statistics, best_.qparams, found.placement, found.recipe};
    Recipe changed = found.recipe;
    std::vector<Repair> tried;
    std::set<std::size_t> decided;  // the last rule holds: none may undo another's
    for (const Remedy& remedy : remedies) decided.insert(remedy.node);
    for (const Remedy& remedy : remedies) {
      const Node& node = graph.nodes[remedy.node];
      if (remedy.wide) {
        changed.rules.push_back(analyze::wide_rule(graph, remedy.node, found.recipe));
      } else {
        for (const std::size_t maker : convolutions_before(found, remedy.node))
          if (decided.insert(maker).second) {
            changed.rules.push_back(analyze::wide_rule(graph, maker, found.recipe));
            tried.push_back({.node = quant::name_of(graph.nodes[maker]),
                             .op_type = graph.nodes[maker].op_type,
                             .cause = analyze::diagnose(patient, found.of(remedy.node), found.noise).cause,
                             .action = "16-bit activations",
                             .before_db = now.sqnr_db});
          }
        changed.rules.push_back(analyze::float_rule(graph, remedy.node));
      }
      tried.push_back({.node = quant::name_of(node),
                       .op_type = node.op_type,
                       .cause = analyze::diagnose(patient, found.of(remedy.node), found.noise).cause,
                       .action = remedy.wide ? "16-bit activations" : "float",
                       .before_db = now.sqnr_db});
    }
    return keep_if_better(changed, std::move(tried), least_gain, now, repairs);
  }
  bool keep_if_better(const Recipe& changed, std::vector<Repair> tried, double least_gain, analyze::OutputCheck& now,
                      std::vector<Repair>& repairs) {
    Quantized next = requantize_(changed);
    const analyze::OutputCheck then = check(next.model);
    if (!(then.sqnr_db >= now.sqnr_db + least_gain) && !(sound(then) && !sound(now))) return false;
    for (Repair& each : tried) {
      each.after_db = then.sqnr_db;
      repairs.push_back(std::move(each));
    }
    now = then;
    best_ = std::move(next);
    return true;
  }

  void repair(analyze::OutputCheck& now, std::vector<Repair>& repairs) {
    Findings found = look(kSamples, kMacs);
    if (even_out(found, now, repairs)) found = look(kSamples, kMacs);
    bool changed = false;  // since `found`
    for (int round = 0; round < kMostRounds && (!sound(now) || now.sqnr_db < options_.aim_db); ++round) {
      if (changed) found = look(kSamples, kMacs);
      const std::vector<Remedy> remedies = choose(found, now);
      changed = !remedies.empty() && apply(found, remedies, sound(now) ? kLeastGain : kAnyGain, now, repairs);
      if (!changed) changed = !sound(now) && round_better(found, now, repairs);
      if (!changed) break;
    }
    if (changed && !sound(now)) found = look(kSamples, kMacs);
    if (!sound(now)) step_by_step_in_float(found, now, repairs);
  }

  // Where rounded weights lose most of it: the step gptq.
  bool round_better(const Findings& found, analyze::OutputCheck& now, std::vector<Repair>& repairs) {
    double weights = 0;
    const analyze::NodeNoise* worst = nullptr;
    for (const analyze::NodeNoise& each : found.nodes) {
      weights += each.weights;
      if (!worst || each.weights > worst->weights) worst = &each;
    }
    if (!worst || weights < kStepShare * found.noise.total) return false;
    return try_step({.name = "gptq", .parameters = {}}, best_.fused.nodes[worst->node], "accumulating_drift", found.recipe, now,
                    repairs);
  }
  bool try_step(Step step, const Node& node, std::string cause, const Recipe& recipe, analyze::OutputCheck& now,
                std::vector<Repair>& repairs) {
    if (!quant::find_step(step.name) || recipe.has_step(step.name)) return false;
    Recipe changed = recipe;
    std::string action = "step " + step.name;
    changed.steps.insert(changed.steps.begin(), std::move(step));
    return keep_if_better(changed,
                          {{.node = quant::name_of(node),
                            .op_type = node.op_type,
                            .cause = std::move(cause),
                            .action = std::move(action),
                            .before_db = now.sqnr_db}},
                          kStepDb, now, repairs);
  }

  // At last: float for nodes that lose, the noisiest first, each with the convolutions that make what it reads.
  void step_by_step_in_float(const Findings& found, analyze::OutputCheck& now, std::vector<Repair>& repairs) {
    std::vector<const analyze::NodeNoise*> candidates;
    std::vector<double> work;
    for (const analyze::NodeNoise& node : found.nodes)
      if (node.total() >= kNegligible * found.noise.total) {
        candidates.push_back(&node);
        work.push_back(node.macs_share);
        for (const std::size_t maker : convolutions_before(found, node.node)) work.back() += found.macs_share(maker);
      }
    if (candidates.empty()) return;
    struct Tried {
      std::map<std::size_t, const analyze::NodeNoise*> in_float;  // by node, and which candidate it is for
      Quantized made;
      analyze::OutputCheck check;
    };
    std::optional<Tried> best;  // sound, else the last one: all in float
    search_float(work, has_long_step(found.recipe) ? kMostLongTries : kMostTries, [&](const std::vector<bool>& in_float) {
      Recipe changed = found.recipe;
      std::map<std::size_t, const analyze::NodeNoise*> decided;
      const auto keep = [&](std::size_t node, const analyze::NodeNoise* reason) {
        if (decided.emplace(node, reason).second) changed.rules.push_back(analyze::float_rule(best_.fused, node));
      };
      for (std::size_t i = 0; i < candidates.size(); ++i) {
        if (!in_float[i]) continue;
        for (const std::size_t maker : convolutions_before(found, candidates[i]->node)) keep(maker, candidates[i]);
        keep(candidates[i]->node, candidates[i]);
      }
      Tried tried{std::move(decided), requantize_(changed), {}};
      tried.check = check(tried.made.model);
      const bool is_sound = sound(tried.check);
      if (is_sound || !best || !sound(best->check)) best = std::move(tried);
      return is_sound;
    });
    if (!sound(best->check) && !(best->check.sqnr_db >= now.sqnr_db + kAnyGain)) return;
    const analyze::Patient patient{best_.fused, best_.statistics, best_.qparams, found.placement, found.recipe};
    for (const auto& [place, reason] : best->in_float) {
      const Node& node = best_.fused.nodes[place];
      repairs.push_back({.node = quant::name_of(node),
                         .op_type = node.op_type,
                         .cause = analyze::diagnose(patient, *reason, found.noise).cause,
                         .action = "float",
                         .before_db = now.sqnr_db,
                         .after_db = best->check.sqnr_db});
    }
    now = best->check;
    best_ = std::move(best->made);
  }

  // Steps that even channels out, where these lose: at the inputs of products smooth_quant, between convolutions
  // cross_layer_equalization.
  bool even_out(const Findings& found, analyze::OutputCheck& now, std::vector<Repair>& repairs) {
    const analyze::Patient patient{best_.fused, best_.statistics, best_.qparams, found.placement, found.recipe};
    double products = 0, convolutions = 0;
    const Node *product = nullptr, *convolution = nullptr;  // the worst
    for (const analyze::NodeNoise& each : found.nodes) {
      const Node& node = best_.fused.nodes[each.node];
      if (node.is("MatMul")) {
        products += each.values;
        if (!product) product = &node;
      } else if (each.total() > kNegligible * found.noise.total &&
                 analyze::diagnose(patient, each, found.noise).cause == kSpread) {
        convolutions += each.total();
        if (!convolution) convolution = &node;
      }
    }
    if (products >= kStepShare * found.noise.total) {
      // Explicit: behind residual sums and GELU nothing can take the factors but a Mul.
      return try_step({.name = "smooth_quant", .parameters = {{"explicit", 1}}}, *product, kSpread, found.recipe, now, repairs);
    }
    if (convolutions >= kStepShare * found.noise.total)
      return try_step({.name = "cross_layer_equalization", .parameters = {}}, *convolution, kSpread, found.recipe, now,
                      repairs);
    return false;
  }

  // The cheapest remedies for the work they make slower, until the noise that is predicted fits.
  std::vector<Remedy> choose(const Findings& found, const analyze::OutputCheck& now) const {
    const double all_noise = found.noise.total;
    std::vector<Remedy> all;
    for (const analyze::NodeNoise& node : found.nodes) {
      const double gain = node.values - node.values_16;
      if (can_be_wide(found.recipe) && gain > kNegligible * all_noise)
        all.push_back({node.node, true, gain, node.macs_share + 0.002});
      if (node.total() > kNegligible * all_noise) all.push_back({node.node, false, node.total(), 4 * node.macs_share + 0.004});
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Remedy& a, const Remedy& b) { return a.gain / a.price > b.gain / b.price; });
    // Measured one by one the errors are small ones of the float model; together they may do more.
    const double present = power(std::max(now.sqnr_db, -10.0)), scale = all_noise > 0 ? present / all_noise : 1;
    double left = all_noise, float_macs = 1 - now.integer_coverage;
    std::vector<Remedy> chosen;
    for (const Remedy& remedy : all) {
      if (scale * left <= kMargin * power(options_.aim_db)) break;
      const auto same =
          std::find_if(chosen.begin(), chosen.end(), [&](const Remedy& each) { return each.node == remedy.node; });
      if (same != chosen.end() && (remedy.wide || remedy.gain - same->gain < kNegligible * all_noise)) continue;
      if (!remedy.wide) {
        if (const double macs = found.of(remedy.node).macs_share; float_macs + macs > options_.float_share)
          continue;
        else
          float_macs += macs;
      }
      left -= remedy.gain - (same != chosen.end() ? same->gain : 0);
      if (same != chosen.end())
        *same = remedy;
      else
        chosen.push_back(remedy);
    }
    return chosen;
  }

  void improve(analyze::OutputCheck& now, std::vector<Repair>& repairs) {
    if (!can_be_wide(parse_recipe(best_.model.metadata.at(kRecipeKey)))) return;
    const Findings found = look(kCheapSamples, kCheapMostMacs);
    std::vector<Remedy> chosen;
    double macs = 0, gain = 0;
    for (const analyze::NodeNoise& node : found.nodes) {
      const double own = node.values - node.values_16;
      if (own < kCheapNoise * found.noise.total || own < kCheapRatio * node.macs_share * found.noise.total ||
          macs + node.macs_share > kCheapMacs)
        continue;
      macs += node.macs_share;
      gain += own;
      chosen.push_back({node.node, true, own, node.macs_share});
    }
    if (gain >= kCheapGain * found.noise.total) apply(found, chosen, kCheapDb, now, repairs);
  }

  Quantized best_;
  const Samples& learn_;
  const Requantize& requantize_;
  const SelfCheckOptions& options_;
  analyze::FloatReference reference_;
};

}  // namespace

std::vector<std::size_t> samples_aside(std::size_t samples) {
  std::vector<std::size_t> result;
  if (samples < kLeastCalibrated + kMostAside / 2) return result;
  const std::size_t count = std::min(kMostAside, samples - kLeastCalibrated);
  for (std::size_t i = 0; i < count; ++i) result.push_back((2 * i + 1) * samples / (2 * count));
  return result;
}

Quantized check_and_repair(Quantized quantized, const Samples& check, const Samples& learn, const Requantize& requantize,
                           const SelfCheckOptions& options) {
  return SelfCheckRun(std::move(quantized), check, learn, requantize, options).run();
}

}  // namespace zeropoint
