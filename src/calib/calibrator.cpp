#include "zeropoint/calibrator.h"

#include <mutex>
#include <utility>
#include <vector>

#include "calib/runner.h"

namespace zeropoint {
namespace {

// Runners that no worker has at the moment.
class RunnerPool {
 public:
  std::unique_ptr<calib::Runner> take() {
    const std::lock_guard lock(mutex_);
    if (idle_.empty()) return nullptr;
    std::unique_ptr<calib::Runner> runner = std::move(idle_.back());
    idle_.pop_back();
    return runner;
  }
  void give_back(std::unique_ptr<calib::Runner> runner) noexcept {
    const std::lock_guard lock(mutex_);
    try {
      idle_.push_back(std::move(runner));
    } catch (const std::bad_alloc&) {  // dropped, and made again when wanted
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<calib::Runner>> idle_;
};

class LentRunner final : public calib::Runner {
 public:
  LentRunner(RunnerPool& pool, std::unique_ptr<calib::Runner> runner) : pool_(pool), runner_(std::move(runner)) {}
  ~LentRunner() override { pool_.give_back(std::move(runner_)); }
  LentRunner(const LentRunner&) = delete;
  LentRunner& operator=(const LentRunner&) = delete;
  void run(const Feeds& feeds, const Observe& observe) override { runner_->run(feeds, observe); }

 private:
  RunnerPool& pool_;
  std::unique_ptr<calib::Runner> runner_;
};

}  // namespace

struct Calibrator::State {
  Graph graph;
  CalibrateOptions options;
  RunnerPool pool;
};

Calibrator::Calibrator(Graph graph, CalibrateOptions options) : state_(std::make_unique<State>()) {
  if (options.shards != 1 || options.resume || !options.checkpoint.empty())
    throw Error(ErrorCode::kBadArgument, "calibrator", "each set of samples is whole: it has no shards, checkpoint or resume");
  if (options.max_memory != 0)
    throw Error(ErrorCode::kBadArgument, "calibrator",
                "max_memory is measured while sessions are made, and this keeps them: set threads instead");
  state_->graph = std::move(graph);
  state_->options = std::move(options);
}
Calibrator::~Calibrator() = default;
Calibrator::Calibrator(Calibrator&&) noexcept = default;
Calibrator& Calibrator::operator=(Calibrator&&) noexcept = default;

const Graph& Calibrator::graph() const { return state_->graph; }

Statistics Calibrator::calibrate(const Samples& samples, const std::atomic<bool>* interrupt) {
  CalibrateOptions options = state_->options;
  if (interrupt != nullptr) options.interrupt = interrupt;
  const auto lend = [&](const std::vector<std::string>& values) -> std::unique_ptr<calib::Runner> {
    std::unique_ptr<calib::Runner> runner = state_->pool.take();
    if (!runner) runner = calib::engine_runner(state_->graph, values, options);
    return std::make_unique<LentRunner>(state_->pool, std::move(runner));
  };
  return calib::calibrate(state_->graph, samples, options, lend, to_string(allowed_isas(options.max_isa)));
}

}  // namespace zeropoint
