#include "pipeline/speed.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "analyze/bench.h"
#include "quant/choose_by_speed.h"
#include "quant/rule_matcher.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

using Clock = std::chrono::steady_clock;

constexpr double kProfileSeconds = 0.4;            // of each model whose steps are timed
constexpr double kTurnSeconds = 0.05, kTurns = 8;  // of two models that compete

Recipe keeping_float(Recipe recipe, const quant::NodeNames& nodes) {
  for (const std::string& node : nodes) recipe.keep_float(quant::scope_of_name(node));
  return recipe;
}

// Attributes the steps of a model to the nodes of the float graph that it was made of: to each its own, and the quantizers and
// dequantizers that stand between integers and floats because of it.
class Attribution {
 public:
  Attribution(const Graph& fused, const Graph& model, const std::vector<StepInfo>& steps)
      : model_(model), uses_(find_uses(model)) {
    for (const Node& node : fused.nodes) names_.insert(quant::name_of(node));
    for (const Node& node : model.nodes) nodes_.emplace(quant::name_of(node), &node);
    for (const StepInfo& step : steps) add(step);
  }

  quant::NodeTimes times() && { return std::move(times_); }

 private:
  void add(const StepInfo& step) {
    if (names_.contains(step.name)) {
      times_.seconds[step.name] += step.seconds;
      if (step.integer) times_.in_integers.insert(step.name);
      if (step.integer && !step.sum_node.empty()) times_.in_integers.insert(step.sum_node);
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
  quant::NodeTimes times_;
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

class TimedModels : public quant::SpeedSource {
 public:
  TimedModels(const Graph& fused, const Recipe& recipe, const std::function<Graph(const Recipe&)>& quantize,
              const Timing& timing)
      : fused_(fused), recipe_(recipe), quantize_(quantize), timing_(timing) {}

  quant::NodeTimes in_float() override { return profile(fused_); }
  quant::NodeTimes quantized(const quant::NodeNames& in_float) override { return profile(model(in_float)); }
  std::optional<std::pair<double, double>> compare(const quant::NodeNames& before, const quant::NodeNames& after) override {
    const Graph& first = model(before);
    try {
      return timing_.compare(first, model(after));
    } catch (const Error& error) {
      if (error.code != ErrorCode::kUnsupported) throw;  // nothing is left to quantize
      return std::nullopt;
    }
  }
  std::pair<double, double> against_float(const quant::NodeNames& in_float) { return timing_.compare(fused_, model(in_float)); }

 private:
  quant::NodeTimes profile(const Graph& graph) { return Attribution(fused_, graph, timing_.steps(graph)).times(); }
  // Quantizing takes time, and a search asks again for the two models that competed.
  const Graph& model(const quant::NodeNames& in_float) {
    const auto known = std::find_if(models_.begin(), models_.end(), [&](const auto& each) { return each.first == in_float; });
    if (known != models_.end()) {
      models_.splice(models_.begin(), models_, known);
    } else {
      models_.emplace_front(in_float, quantize_(keeping_float(recipe_, in_float)));
      if (models_.size() > 2) models_.pop_back();
    }
    return models_.front().second;
  }

  const Graph& fused_;
  const Recipe& recipe_;
  const std::function<Graph(const Recipe&)>& quantize_;
  const Timing& timing_;
  std::list<std::pair<quant::NodeNames, Graph>> models_;  // most recently used first
};

}  // namespace

Timing on_this_machine(const Feeds& feeds, const SessionOptions& options, const std::atomic<bool>* interrupt) {
  return {.steps =
              [=, &feeds](const Graph& graph) {
                std::vector<StepInfo> steps;
                for (analyze::StepSpeed& speed : analyze::bench(graph, feeds, options, kProfileSeconds, interrupt).steps)
                  steps.push_back(std::move(speed.step));
                return steps;
              },
          .compare = [=, &feeds](const Graph& a, const Graph& b) { return compete(a, b, feeds, options, interrupt); }};
}

SpeedChoice choose_by_times(const Graph& fused, const Recipe& recipe, const std::function<Graph(const Recipe&)>& quantize,
                            const Timing& timing) {
  TimedModels models(fused, recipe, quantize, timing);
  std::map<std::string, std::string> types;
  for (const Node& node : fused.nodes) types[quant::name_of(node)] = node.op_type;
  SpeedChoice choice;
  quant::NodeNames kept;
  for (const quant::SlowerNode& node : quant::choose_by_speed(models)) {
    kept.insert(node.node);
    choice.report.kept_float.push_back({.node = node.node,
                                        .op_type = types[node.node],
                                        .float_seconds = node.float_seconds,
                                        .integer_seconds = node.integer_seconds});
  }
  choice.recipe = keeping_float(recipe, kept);
  std::tie(choice.report.float_seconds, choice.report.seconds) = models.against_float(kept);
  return choice;
}

}  // namespace zeropoint
