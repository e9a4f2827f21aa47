#include "analyze/bench.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>

#include "kernels/ceiling/ceiling.h"
#include "zeropoint/error.h"

namespace zeropoint::analyze {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kLeastRuns = 10;
constexpr double kTurnSeconds = 0.25;  // of runs without a break, as caches and clock are then their own
constexpr double kCeilingSeconds = 0.01, kWarmUpSeconds = 0.05;  // of each loop, between two turns

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class Bench {
 public:
  Bench(const Graph& graph, const Feeds& feeds, const SessionOptions& options, double seconds,
        const std::atomic<bool>* interrupt)
      : graph_(graph),
        feeds_(feeds),
        options_(options),
        seconds_(seconds),
        interrupt_(interrupt),
        isas_(allowed_isas(options.max_isa)),
        threads_(options.threads > 0 ? options.threads : physical_cores()),
        int8_(kernels::select_ceiling(kernels::Arithmetic::int8, isas_), threads_),
        fp32_(kernels::select_ceiling(kernels::Arithmetic::fp32, isas_), threads_) {}

  BenchReport run() {
    report_.threads = threads_;
    report_.isas = to_string(isas_);
    measure_ceilings(kWarmUpSeconds);
    whole();
    steps();
    report_.int8 = {std::string(int8_.loop().name), int8_.operations_per_second()};
    report_.fp32 = {std::string(fp32_.loop().name), fp32_.operations_per_second()};
    rate();
    return std::move(report_);
  }

 private:
  void measure_ceilings(double seconds) {
    int8_.measure(seconds);
    fp32_.measure(seconds);
  }

  // Half of the time goes to runs of which nothing but the whole is timed, half to those with a clock read between steps.
  void repeat(Session& session, const std::function<void(double)>& after_run) {
    std::vector<Tensor> in, out = session.run(feeds_);
    for (const auto& input : session.inputs()) in.push_back(feeds_.at(input.name));
    const auto start = Clock::now();
    auto turn = start;
    for (int runs = 0; runs < kLeastRuns || since(start) < seconds_ / 2; ++runs) {
      const auto before = Clock::now();
      const ErrorCode code = session.run(in, out);
      const double taken = since(before);
      if (code != ErrorCode::kOk) throw Error(code, "bench", "a run failed: " + std::string(name(code)));
      after_run(taken);
      if (interrupt_ != nullptr && *interrupt_) throw Error(ErrorCode::kInterrupted, "bench", "interrupted");
      if (since(turn) < kTurnSeconds) continue;
      measure_ceilings(kCeilingSeconds);
      turn = Clock::now();
    }
    measure_ceilings(kCeilingSeconds);
  }

  void whole() {
    SessionOptions options = options_;
    options.profile = false;
    Session session(graph_, options);
    std::vector<double> times;
    repeat(session, [&](double seconds) { times.push_back(seconds); });
    std::sort(times.begin(), times.end());
    report_.runs = static_cast<std::int64_t>(times.size());
    report_.min_seconds = times.front();
    report_.median_seconds = times[times.size() / 2];
    report_.p95_seconds = times[times.size() * 95 / 100];
    report_.integer_coverage = session.integer_coverage();
  }

  void steps() {
    SessionOptions options = options_;
    options.profile = true;
    Session session(graph_, options);
    std::vector<StepInfo> before, best;
    repeat(session, [&](double) {
      std::vector<StepInfo> now = session.steps();
      const bool same = before.size() == now.size();  // where values decide about the plan it may change
      if (!same) best.clear();
      for (std::size_t i = 0; same && i < now.size(); ++i) {
        const double taken = now[i].seconds - before[i].seconds;
        if (best.size() == i) {
          best.push_back(now[i]);
          best[i].seconds = taken;
        }
        best[i].seconds = std::min(best[i].seconds, taken);
      }
      before = std::move(now);
    });
    for (StepInfo& step : best) report_.steps.push_back({.step = std::move(step)});
  }

  void rate() {
    double operations = 0, at_ceiling = 0;
    for (StepSpeed& speed : report_.steps) {
      if (speed.step.macs == 0) continue;
      const double own = 2 * static_cast<double>(speed.step.macs);
      const double ceiling = (speed.step.integer ? report_.int8 : report_.fp32).operations_per_second;
      operations += own;
      at_ceiling += own / ceiling;
      if (speed.step.seconds <= 0) continue;
      speed.gop_per_s = own * 1e-9 / speed.step.seconds;
      speed.ceiling_share = own / speed.step.seconds / ceiling;
    }
    report_.gop_per_s = operations * 1e-9 / report_.min_seconds;
    report_.ceiling_share = at_ceiling / report_.min_seconds;
  }

  const Graph& graph_;
  const Feeds& feeds_;
  const SessionOptions& options_;
  double seconds_;
  const std::atomic<bool>* interrupt_;
  IsaSet isas_;
  int threads_;
  kernels::Ceiling int8_, fp32_;
  BenchReport report_;
};

}  // namespace

BenchReport bench(const Graph& graph, const Feeds& feeds, const SessionOptions& options, double seconds,
                  const std::atomic<bool>* interrupt) {
  return Bench(graph, feeds, options, seconds, interrupt).run();
}

}  // namespace zeropoint::analyze
