#include "pipeline/speed.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "analyze/bench.h"
#include "quant/rule_matcher.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kProfileSeconds = 0.4;            // of each model whose steps are timed
constexpr double kTurnSeconds = 0.05, kTurns = 8;  // of two models that compete
constexpr double kWorthwhile = 0.98;               // of the time before: less is noise
constexpr std::size_t kMostProposals = 8;

// A regular expression that matches this name alone.
std::string literal(const std::string& name) {
  std::string scope;
  for (const char c : name) {
    if (std::string_view("\\^$.|?*+()[]{}").find(c) != std::string_view::npos) scope += '\\';
    scope += c;
  }
  return scope;
}

Recipe keeping_float(Recipe recipe, const std::set<std::string>& nodes) {
  for (const std::string& node : nodes) recipe.keep_float(literal(node));
  return recipe;
}

// Seconds of each node of the float graph in a model made of it: its own step's, and those of the quantizers and dequantizers
// that stand between integers and floats because of it.
struct NodeTimes {
  std::map<std::string, double> seconds;
  std::set<std::string> in_integers;
};

class Attribution {
 public:
  Attribution(const Graph& fused, const Graph& model, const analyze::BenchReport& profile)
      : model_(model), uses_(find_uses(model)) {
    for (const Node& node : fused.nodes) names_.insert(quant::name_of(node));
    for (const Node& node : model.nodes) nodes_.emplace(quant::name_of(node), &node);
    for (const analyze::StepSpeed& speed : profile.steps) add(speed.step);
  }

  NodeTimes times() && { return std::move(times_); }

 private:
  void add(const StepInfo& step) {
    if (names_.contains(step.name)) {
      times_.seconds[step.name] += step.seconds;
      if (step.integer) times_.in_integers.insert(step.name);
      return;
    }
    const auto node = nodes_.find(step.name);
    std::set<std::string> owners;
    if (node != nodes_.end() && !node->second->is("DequantizeLinear"))  // quantizes, or is part of it
      find_readers(node->second->outputs[0], owners);
    else if (const auto producer = uses_.producer.find(step.name); producer != uses_.producer.end())
      find_maker(model_.nodes[producer->second], owners);
    for (const std::string& owner : owners) times_.seconds[owner] += step.seconds / static_cast<double>(owners.size());
  }

  // The nodes of the float graph that read a value, through quantizers and dequantizers.
  void find_readers(const std::string& value, std::set<std::string>& owners) const {
    const auto readers = uses_.consumers.find(value);
    if (readers == uses_.consumers.end()) return;
    for (const std::size_t i : readers->second) {
      const Node& reader = model_.nodes[i];
      if (names_.contains(quant::name_of(reader)))
        owners.insert(quant::name_of(reader));
      else
        find_readers(reader.outputs[0], owners);
    }
  }

  void find_maker(const Node& node, std::set<std::string>& owners) const {
    if (names_.contains(quant::name_of(node))) {
      owners.insert(quant::name_of(node));
    } else if (const auto producer = uses_.producer.find(node.input(0)); producer != uses_.producer.end()) {
      find_maker(model_.nodes[producer->second], owners);
    }
  }

  const Graph& model_;
  Uses uses_;
  std::set<std::string> names_;
  std::map<std::string, const Node*> nodes_;  // of the model
  NodeTimes times_;
};

// Least seconds of a run of each, in turns.
std::pair<double, double> compete(const Graph& a, const Graph& b, const Feeds& feeds, const SessionOptions& options,
                                  const std::atomic<bool>* interrupt) {
  Session sessions[2] = {Session(a, options), Session(b, options)};
  double least[2] = {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity()};
  std::vector<Tensor> in, out[2];
  for (const ValueInfo& input : sessions[0].inputs()) in.push_back(feeds.at(input.name));
  for (const std::size_t i : {0, 1}) out[i] = sessions[i].run(feeds);
  for (int turn = 0; turn < kTurns; ++turn)
    for (std::size_t i = 0; i < 2; ++i) {
      const auto start = Clock::now();
      for (auto before = start; std::chrono::duration<double>(before - start).count() < kTurnSeconds;) {
        if (sessions[i].run(in, out[i]) != ErrorCode::kOk) throw Error(ErrorCode::kInternal, "speed", "a run failed");
        const auto after = Clock::now();
        least[i] = std::min(least[i], std::chrono::duration<double>(after - before).count());
        before = after;
      }
      if (interrupt != nullptr && *interrupt) throw Error(ErrorCode::kInterrupted, "quantize", "interrupted");
    }
  return {least[0], least[1]};
}

}  // namespace

SpeedChoice choose_by_speed(const Graph& fused, const Recipe& recipe, const std::function<Graph(const Recipe&)>& quantize,
                            const Feeds& feeds, const SessionOptions& options, const std::atomic<bool>* interrupt) {
  const auto profile = [&](const Graph& graph) {
    return Attribution(fused, graph, analyze::bench(graph, feeds, options, kProfileSeconds, interrupt)).times();
  };
  std::map<std::string, std::string> types;
  for (const Node& node : fused.nodes) types[quant::name_of(node)] = node.op_type;
  const NodeTimes in_float = profile(fused);

  SpeedChoice choice;
  choice.recipe = recipe;
  std::set<std::string> kept;
  Graph best = quantize(recipe);
  NodeTimes quantized = profile(best);
  const auto proposals = [&] {  // slower in integers, the worst first
    std::vector<NodeSpeed> slower;
    for (const auto& [node, seconds] : quantized.seconds) {
      const auto own = in_float.seconds.find(node);
      if (!quantized.in_integers.contains(node) || kept.contains(node) || own == in_float.seconds.end()) continue;
      if (seconds > own->second)
        slower.push_back({.node = node, .op_type = types[node], .float_seconds = own->second, .integer_seconds = seconds});
    }
    std::sort(slower.begin(), slower.end(), [](const NodeSpeed& a, const NodeSpeed& b) {
      return a.integer_seconds - a.float_seconds > b.integer_seconds - b.float_seconds;
    });
    return slower;
  };
  std::vector<NodeSpeed> slower = proposals();
  for (std::size_t tried = 0; !slower.empty() && tried < kMostProposals; ++tried) {
    std::set<std::string> wanted = kept;
    for (const NodeSpeed& node : slower) wanted.insert(node.node);
    std::optional<Graph> candidate;
    try {
      candidate = quantize(keeping_float(recipe, wanted));
    } catch (const Error& error) {
      if (error.code != ErrorCode::kUnsupported) throw;  // nothing is left to quantize
    }
    if (candidate) {
      const auto [before, after] = compete(best, *candidate, feeds, options, interrupt);
      if (after < kWorthwhile * before) {
        kept = std::move(wanted);
        choice.report.kept_float.insert(choice.report.kept_float.end(), slower.begin(), slower.end());
        best = std::move(*candidate);
        quantized = profile(best);
        slower = proposals();
        continue;
      }
    }
    slower.resize(slower.size() / 2);  // alone, the worst may still be worth it
  }
  choice.recipe = keeping_float(recipe, kept);
  std::tie(choice.report.float_seconds, choice.report.seconds) = compete(fused, best, feeds, options, interrupt);
  return choice;
}

}  // namespace zeropoint
