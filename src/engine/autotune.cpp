#include "engine/autotune.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <new>
#include <random>
#include <span>

#include "zeropoint/error.h"

namespace zeropoint::engine {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kTurns = 4;  // of two contenders
constexpr double kTurnSeconds = 0.05;
constexpr int kLeastRuns = 3;            // in a turn
constexpr double kClearly = 0.95;        // of the time before: less may be chance
constexpr std::size_t kMostKernels = 6;  // that take one shape

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<Tensor> made_up(const Graph& graph, const std::vector<Dims>& dims) {
  std::mt19937 random(1);
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    Tensor& tensor = inputs.emplace_back(graph.inputs[i].type.dtype, dims[i]);  // zeros: an index that is always valid
    if (tensor.dtype() == DType::f32)
      for (float& value : tensor.mutable_values<float>()) value = static_cast<float>(random() % 2001) / 1000.0F - 1;
  }
  return inputs;
}

// One way to run the graph, and the least time of each of its steps, by their names.
class Contender {
 public:
  Contender(const Graph& graph, std::span<const Tensor> inputs, StageOptions options, Tuning tuning, ThreadPool& pool,
            std::shared_ptr<PackCache> packs)
      : stage_(graph, with(std::move(options), std::move(tuning)), pool, std::move(packs)), inputs_(inputs) {
    stage_.run(inputs_);  // plans
    look();
    steps_.clear();
  }

  void turn() {
    const auto start = Clock::now();
    for (int run = 0; run < kLeastRuns || since(start) < kTurnSeconds; ++run) {
      const auto before = Clock::now();
      stage_.run(inputs_);
      least_ = std::min(least_, since(before));
      look();
    }
  }
  double least() const { return least_; }
  const std::map<std::string, double>& steps() const { return steps_; }
  std::map<std::string, std::string> kernels() const {
    std::map<std::string, std::string> kernels;
    for (const StepInfo& step : stage_.summary().steps)
      if (step.integer && step.macs > 0) kernels[step.name] = step.kernel;
    return kernels;
  }

 private:
  static StageOptions with(StageOptions options, Tuning tuning) {
    options.lower.tuning = std::make_shared<const Tuning>(std::move(tuning));
    return options;
  }
  void look() {  // only where steps are timed
    std::map<std::string, double> sums;
    for (const StepInfo& step : stage_.summary().steps) sums[step.name] += step.seconds;
    for (const auto& [name, seconds] : sums) {
      const double taken = seconds - sums_[name];
      const auto [entry, is_new] = steps_.emplace(name, taken);
      if (!is_new) entry->second = std::min(entry->second, taken);
    }
    sums_ = std::move(sums);
  }

  Stage stage_;
  std::span<const Tensor> inputs_;
  double least_ = std::numeric_limits<double>::infinity();
  std::map<std::string, double> sums_, steps_;
};

class Search {
 public:
  Search(const Graph& graph, std::span<const Tensor> inputs, const StageOptions& options, ThreadPool& pool, double seconds)
      : graph_(graph),
        inputs_(inputs),
        options_(options),
        pool_(pool),
        seconds_(seconds),
        base_(options.lower.tuning ? *options.lower.tuning : Tuning{}) {
    options_.profile = true;
  }

  Tuning run() {
    seen_.push_back(contender(base_, packs_).kernels());
    for (std::size_t alternative = 0; alternative < kMostKernels && !late(); ++alternative) try_kernels(alternative);
    if (pool_.threads() > 1 && !late()) try_sharing();
    if (result_.empty()) return {};
    options_.profile = false;
    Contender before = contender(base_, packs_), after = contender(result_, packs_);
    compete(before, after);
    return after.least() < before.least() ? result_ : Tuning{};
  }

 private:
  bool late() const { return since(start_) > seconds_; }
  Contender contender(const Tuning& tuning, const std::shared_ptr<PackCache>& packs) const {
    return Contender(graph_, inputs_, options_, tuning, pool_, packs);
  }
  void compete(Contender& a, Contender& b) const {
    for (int turn = 0; turn < kTurns && (turn == 0 || !late()); ++turn) {
      a.turn();
      b.turn();
    }
  }

  void try_kernels(std::size_t alternative) {
    // Its weights are gone after it: the memory is that of two kernels, however many there are.
    Contender other = contender({.alternative = alternative}, std::make_shared<PackCache>());
    auto kernels = other.kernels();
    if (std::ranges::find(seen_, kernels) != seen_.end()) return;
    seen_.push_back(kernels);
    std::erase_if(kernels, [&base = seen_.front()](const auto& step) {  // what it gains there is chance
      const auto own = base.find(step.first);
      return own == base.end() || own->second == step.second;
    });
    for (const auto& [step, share] : faster(other))
      if (const auto kernel = kernels.find(step); kernel != kernels.end() && (!best_.contains(step) || share < best_[step])) {
        best_[step] = share;
        result_.kernels[step] = kernel->second;
      }
  }
  void try_sharing() {
    Contender other = contender({.all_other_sharing = true}, packs_);
    for (const auto& [step, share] : faster(other)) result_.other_sharing.insert(step);
  }
  // The steps that take clearly less, and their share of the time.
  std::map<std::string, double> faster(Contender& other) const {
    Contender base = contender(base_, packs_);
    compete(base, other);
    std::map<std::string, double> result;
    for (const auto& [step, seconds] : other.steps())
      if (const auto own = base.steps().find(step); own != base.steps().end() && seconds < kClearly * own->second)
        result[step] = seconds / own->second;
    return result;
  }

  const Graph& graph_;
  std::span<const Tensor> inputs_;
  StageOptions options_;
  ThreadPool& pool_;
  const double seconds_;
  const Clock::time_point start_ = Clock::now();
  const std::shared_ptr<PackCache> packs_ = std::make_shared<PackCache>();  // of the kernels before, and of those chosen
  Tuning base_, result_;
  std::vector<std::map<std::string, std::string>> seen_;  // kernels that were tried, those before first
  std::map<std::string, double> best_;
};

}  // namespace

std::optional<Tuning> autotune(const Graph& graph, const std::vector<Dims>& dims, const StageOptions& options, ThreadPool& pool,
                               double seconds) {
  try {
    const std::vector<Tensor> inputs = made_up(graph, dims);
    return Search(graph, inputs, options, pool, seconds).run();
  } catch (const Error& error) {
    if (error.code == ErrorCode::kInterrupted) throw;
    return std::nullopt;  // on made-up inputs it does not run
  } catch (const std::bad_alloc&) {
    return std::nullopt;
  }
}

}  // namespace zeropoint::engine
