// The two forms of a BenchReport that people and programs read.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "analyze/bench.h"

namespace zeropoint::analyze {
namespace {

using Json = nlohmann::ordered_json;

Json optional(const std::optional<double>& value, double factor = 1) { return value ? Json(factor * *value) : Json(nullptr); }

std::string line(const StepSpeed& speed, double total) {
  const auto number = [](const std::optional<double>& value, double factor, const char* unit) {
    return value ? fmt::format("{:.{}f}{}", factor * *value, factor * *value < 10 ? 1 : 0, unit) : std::string();
  };
  return fmt::format("{:>10.1f}  {:>5.1f} %  {:>7}  {:>7}  {:<28.28}  {:<34.34}  {}\n", speed.step.seconds * 1e6,
                     total > 0 ? 100 * speed.step.seconds / total : 0, number(speed.gop_per_s, 1, ""),
                     number(speed.ceiling_share, 100, " %"), speed.step.op, speed.step.kernel, speed.step.name);
}

}  // namespace

std::string to_text(const BenchReport& report, std::optional<std::size_t> most) {
  std::vector<const StepSpeed*> shown;
  double total = 0, rest = 0;
  for (const StepSpeed& speed : report.steps) {
    shown.push_back(&speed);
    total += speed.step.seconds;
  }
  if (most) {
    std::stable_sort(shown.begin(), shown.end(),
                     [](const StepSpeed* a, const StepSpeed* b) { return a->step.seconds > b->step.seconds; });
    for (std::size_t i = *most; i < shown.size(); ++i) rest += shown[i]->step.seconds;
    shown.resize(std::min(*most, shown.size()));
  }
  std::string text = fmt::format("{:>10}  {:>7}  {:>7}  {:>7}  {:<28}  {:<34}  {}\n", "us", "share", "GOP/s", "ceiling",
                                 "operator", "kernel", "node");
  for (const StepSpeed* speed : shown) text += line(*speed, total);
  if (shown.size() < report.steps.size())
    text += fmt::format("{:>10.1f}  {:>5.1f} %  {} more steps\n", rest * 1e6, total > 0 ? 100 * rest / total : 0,
                        report.steps.size() - shown.size());
  text += fmt::format("ceilings of {} thread{}: {:.0f} GOP/s in integers ({}), {:.0f} in float ({})\n", report.threads,
                      report.threads == 1 ? "" : "s", report.int8.operations_per_second * 1e-9, report.int8.loop,
                      report.fp32.operations_per_second * 1e-9, report.fp32.loop);
  return text + fmt::format(
                    "min {:.3f} ms, median {:.3f} ms, p95 {:.3f} ms of {} runs; {:.1f} GOP/s, {:.1f} % of the ceiling; {:.1f} "
                    "% of the "
                    "work in integers\n",
                    report.min_seconds * 1e3, report.median_seconds * 1e3, report.p95_seconds * 1e3, report.runs,
                    report.gop_per_s, 100 * report.ceiling_share, 100 * report.integer_coverage);
}

std::string to_json(const BenchReport& report) {
  const auto ceiling = [](const CeilingSpeed& speed) {
    return Json{{"loop", speed.loop}, {"gop_per_s", speed.operations_per_second * 1e-9}};
  };
  Json json = {{"threads", report.threads},
               {"isas", report.isas},
               {"runs", report.runs},
               {"min_ms", report.min_seconds * 1e3},
               {"median_ms", report.median_seconds * 1e3},
               {"p95_ms", report.p95_seconds * 1e3},
               {"gop_per_s", report.gop_per_s},
               {"ceiling_percent", 100 * report.ceiling_share},
               {"integer_percent", 100 * report.integer_coverage},
               {"ceilings", {{"int8", ceiling(report.int8)}, {"fp32", ceiling(report.fp32)}}},
               {"nodes", Json::array()}};
  for (const StepSpeed& speed : report.steps)
    json["nodes"].push_back({{"name", speed.step.name},
                             {"op", speed.step.op},
                             {"kernel", speed.step.kernel},
                             {"integer", speed.step.integer},
                             {"ms", speed.step.seconds * 1e3},
                             {"macs", speed.step.macs},
                             {"gop_per_s", optional(speed.gop_per_s)},
                             {"ceiling_percent", optional(speed.ceiling_share, 100)}});
  return json.dump(2) + "\n";
}

}  // namespace zeropoint::analyze
