#include "budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

namespace zeropoint::cli {
namespace {

constexpr std::size_t kMostForCalibration = 128;

std::string line(const TriedModel& tried, const Metric& metric) {
  std::string text =
      fmt::format("{}: {} {:.4g}, {:.2f} MB", tried.label, metric.name, tried.value, static_cast<double>(tried.bytes) / 1e6);
  if (tried.seconds > 0) text += fmt::format(", {:.2f} times as fast as float", tried.float_seconds / tried.seconds);
  return text + (tried.within ? "\n" : ", misses the budget\n");
}

}  // namespace

void BudgetFlags::add_to(CLI::App& verb) {
  auto* drop =
      verb.add_option("--max-drop", max_drop,
                      "search for the fastest model that is worse than the float one by at most this (percent: points)");
  verb.add_option("--min-metric", limit, "the same for a metric of at least this value (mse: at most)")->excludes(drop);
  auto* metric_option =
      verb.add_option("--metric", metric,
                      "what models are judged by: top1 top5 (labels), agreement cosine mse sqnr (float model)")
          ->capture_default_str();
  auto* objective_option =
      verb.add_option("--objective", objective, "of the models within the budget take the fastest or the smallest")
          ->check(CLI::IsMember({"fastest", "smallest"}))
          ->capture_default_str();
  auto* data_option =
      verb.add_option("--eval-data", data, "samples to judge on; default: those of --data that are not calibrated on");
  verb.add_option("--eval-labels", labels, "CSV with columns file,label for --eval-data")->needs(data_option);
  auto* samples_option = verb.add_option("--eval-samples", samples, "judge on this many of them, drawn by --seed; default: all")
                             ->check(CLI::PositiveNumber);
  of_a_budget = {metric_option, objective_option, data_option, samples_option};
}

void BudgetFlags::check() const {
  if (given()) return;
  for (const CLI::Option* option : of_a_budget)
    if (option->count() > 0)
      throw Error(ErrorCode::kBadArgument, option->get_name(), "goes with a budget: give --max-drop or --min-metric");
}

Quantized BudgetFlags::run(const Graph& model, const Recipe& recipe, const DataFlags& calibration, const CommonFlags& common,
                           const QuantizeOptions& options, const std::string& output) const {
  if (calibration.path.empty())
    throw Error(ErrorCode::kBadArgument, max_drop ? "--max-drop" : "--min-metric", "needs samples to judge on: give --data");
  const auto all =
      open_samples(calibration.path, model.inputs, {.preprocess = calibration.preprocess, .labels = calibration.labels});
  const std::size_t size = all->size();
  const std::size_t count = calibration.samples > 0 ? calibration.samples
                            : data.empty()          ? std::min(kMostForCalibration, size / 2)
                                                    : std::min(kMostForCalibration, size);
  const std::vector<std::size_t> drawn = draw(size, count, common.seed);
  const Subset calibrated(*all, drawn);
  std::unique_ptr<Samples> other;
  if (!data.empty()) other = open_samples(data, model.inputs, {.preprocess = calibration.preprocess, .labels = labels});
  std::vector<std::size_t> judged;
  if (other) {
    judged.resize(other->size());
    for (std::size_t i = 0; i < judged.size(); ++i) judged[i] = i;
  } else {
    judged = complement(size, drawn);
  }
  if (drawn.empty() || judged.empty())
    throw Error(ErrorCode::kBadSample, calibration.path,
                fmt::format("{} samples leave none to {}; give more, or others by --eval-data", size,
                            drawn.empty() ? "calibrate on" : "judge on"));
  if (samples > 0 && samples < judged.size()) {
    std::vector<std::size_t> some;
    for (const std::size_t i : draw(judged.size(), samples, common.seed)) some.push_back(judged[i]);
    judged = some;
  }
  const Subset judging(other ? *other : *all, judged);

  const Metric judge = named_metric(
      metric, model, judging,
      {.threads = options.threads, .max_isa = options.max_isa, .shapes = options.shapes, .interrupt = options.interrupt});
  BudgetOptions budget{.quantize = options, .objective = objective == "smallest" ? Objective::smallest : Objective::fastest};
  budget.timed_on = judging.get(0);
  budget.resume = options.resume;
  budget.cache = output + ".search";
  if (!common.quiet) {
    std::fputs(fmt::format("calibrating on {} samples, judging on {} by {}\n", drawn.size(), judged.size(), metric).c_str(),
               stderr);
    budget.tried = [&](const TriedModel& tried) { std::fputs(line(tried, judge).c_str(), stderr); };
  }
  return quantize_within(model, calibrated, judge, {.max_drop = max_drop, .limit = limit}, recipe, budget);
}

}  // namespace zeropoint::cli
