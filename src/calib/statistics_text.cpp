#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "zeropoint/statistics.h"

namespace zeropoint {
namespace {

constexpr std::pair<const char*, double> kPercentiles[] = {{"0.01", 0.0001}, {"0.1", 0.001},  {"1", 0.01},      {"50", 0.5},
                                                           {"99", 0.99},     {"99.9", 0.999}, {"99.99", 0.9999}};

std::string progress_text(const Statistics& statistics) {
  if (!statistics.progress) return "complete";
  std::uint64_t done = 0;
  for (const auto& [begin, end] : statistics.progress->done) done += end - begin;
  return fmt::format("{} of {} of the set", done, statistics.progress->total);
}

}  // namespace

std::string to_json(const Statistics& statistics) {
  nlohmann::ordered_json document;
  document["model_hash"] = statistics.model_hash;
  document["isas"] = statistics.isas;
  document["samples"] = statistics.samples;
  document["hash"] = statistics_hash(statistics);
  document["complete"] = !statistics.progress.has_value();
  if (statistics.progress) {
    auto& progress = document["progress"];
    progress["total"] = statistics.progress->total;
    progress["done"] = statistics.progress->done;
  }
  auto& values = document["values"] = nlohmann::ordered_json::object();
  for (const auto& [name, value] : statistics.values) {
    auto& entry = values[name];
    entry["samples"] = value.samples;
    entry["count"] = value.count();
    entry["zeros"] = value.zeros();
    entry["nans"] = value.nans;
    entry["infinities"] = value.infinities;
    entry["min"] = value.min;
    entry["max"] = value.max;
    entry["mean_min"] = value.mean_min();
    entry["mean_max"] = value.mean_max();
    const HistogramView view = value.view();
    auto& percentiles = entry["percentiles"] = nlohmann::ordered_json::object();
    for (const auto& [label, fraction] : kPercentiles) percentiles[label] = view.quantile(fraction);
    if (!value.channel_max.empty()) {
      entry["channel_axis"] = value.channel_axis;
      entry["channel_max"] = value.channel_max;
    }
    if (!value.rows.empty()) entry["rows"] = value.rows.size();
  }
  // Names come from files: what is not UTF-8 is replaced.
  return document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string to_text(const Statistics& statistics) {
  std::string text = fmt::format("statistics of model {}: {} samples ({}), {} values, computed by {}\n", statistics.model_hash,
                                 statistics.samples, progress_text(statistics), statistics.values.size(), statistics.isas);
  std::size_t width = 5;
  for (const auto& [name, value] : statistics.values) width = std::max(width, name.size());
  const auto row = [&](const auto&... cells) {
    text += fmt::format("{:{}} {:>12} {:>7} {:>12} {:>12} {:>12} {:>12} {:>12}\n", cells...);
  };
  row("value", width, "count", "zeros", "min", "0.1 %", "median", "99.9 %", "max");
  for (const auto& [name, value] : statistics.values) {
    const HistogramView view = value.view();
    const double zeros =
        value.count() == 0 ? 0 : 100.0 * static_cast<double>(value.zeros()) / static_cast<double>(value.count());
    const auto number = [](double x) { return fmt::format("{:.6g}", x); };
    row(name, width, value.count(), fmt::format("{:.1f}%", zeros), number(static_cast<double>(value.min)),
        number(view.quantile(0.001)), number(view.quantile(0.5)), number(view.quantile(0.999)),
        number(static_cast<double>(value.max)));
    if (value.nans != 0 || value.infinities != 0)
      text += fmt::format("{:{}} {} NaN and {} infinite elements\n", "", width, value.nans, value.infinities);
  }
  return text;
}

}  // namespace zeropoint
