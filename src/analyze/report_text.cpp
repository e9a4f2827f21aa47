// The two forms of a Report that people and programs read.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "analyze/sensitivity_text.h"
#include "zeropoint/report.h"

namespace zeropoint {
namespace {

using Json = nlohmann::ordered_json;

std::string decibels(double value) {
  return std::isinf(value) ? (value > 0 ? "equal" : "-inf dB") : fmt::format("{:.2f} dB", value);
}
std::string percent(double share) { return fmt::format("{:.2f} %", 100 * share); }
std::string bytes(std::uint64_t count) {
  const double value = static_cast<double>(count);
  if (count < 10000) return fmt::format("{} B", count);
  return value < 1e6 ? fmt::format("{:.1f} kB", value / 1e3) : fmt::format("{:.2f} MB", value / 1e6);
}

Json number(double value) {  // JSON knows no infinity
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}
Json to_json(const ErrorMetrics& metrics) {
  return {{"count", metrics.count},
          {"sqnr_db", number(metrics.sqnr_db)},
          {"cosine", number(metrics.cosine)},
          {"mean_abs", number(metrics.mean_abs)},
          {"max_abs", number(metrics.max_abs)},
          {"mean_square", number(metrics.mean_square)}};
}
Json to_json(const Accuracy& accuracy) {
  Json json = {{"samples", accuracy.samples}, {"top1", accuracy.top1}};
  if (accuracy.top5) json["top5"] = *accuracy.top5;
  return json;
}
Json to_json(const NodeReport& node) {
  Json json = {{"node", node.node}, {"op_type", node.op_type}, {"integer", node.integer}, {"macs", node.macs}};
  if (!node.value.empty()) json["value"] = node.value;
  if (node.float_seconds) json["float_seconds"] = *node.float_seconds;
  if (node.seconds) json["seconds"] = *node.seconds;
  return json;
}
Json to_json(const ValueDistribution& distribution) {
  return {{"value", distribution.value},     {"node", distribution.node},
          {"count", distribution.count},     {"min", distribution.min},
          {"max", distribution.max},         {"dtype", name(distribution.dtype)},
          {"scale", distribution.scale},     {"zero_point", distribution.zero_point},
          {"low", distribution.low},         {"high", distribution.high},
          {"clipped", distribution.clipped}, {"histogram", distribution.histogram}};
}
Json recipe_object(const std::string& text) {
  Json recipe = Json::parse(text, nullptr, false);
  return recipe.is_discarded() ? Json(text) : recipe;
}
void add_accuracy(std::string& text, const char* name, const Accuracy& accuracy) {
  text += fmt::format("  {:<10} top-1 {}", name, percent(accuracy.top1));
  if (accuracy.top5) text += fmt::format("   top-5 {}", percent(*accuracy.top5));
  text += '\n';
}

// One line for all nodes of a type that stay for one reason; JSON has each.
void add_left_in_float(std::string& text, const std::vector<FloatNode>& nodes) {
  constexpr std::size_t kNamed = 3;
  std::vector<std::pair<const FloatNode*, std::vector<std::string>>> groups;
  for (const FloatNode& node : nodes) {
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      return group.first->op_type == node.op_type && group.first->reason == node.reason;
    });
    (same == groups.end() ? groups.emplace_back(&node, std::vector<std::string>()) : *same).second.push_back(node.node);
  }
  for (const auto& [first, names] : groups) {
    const std::size_t shown = std::min(names.size(), kNamed);
    text += fmt::format("  {} {}: {} ({}{})\n", names.size(), first->op_type, first->reason,
                        fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                        names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
  }
}

void add_speed(std::string& text, const SpeedReport& speed) {
  constexpr std::size_t kShown = 10;
  text += fmt::format("speed {:.3f} ms a run, {:.3f} ms in float; {} nodes are slower in integers and stay in float\n",
                      1e3 * speed.seconds, 1e3 * speed.float_seconds, speed.kept_float.size());
  for (std::size_t i = 0; i < std::min(kShown, speed.kept_float.size()); ++i) {
    const NodeSpeed& node = speed.kept_float[i];
    text += fmt::format("  {:<20} {:>9.1f} us in integers {:>9.1f} us in float   {}\n", node.op_type,
                        1e6 * node.integer_seconds, 1e6 * node.float_seconds, node.node);
  }
  if (speed.kept_float.size() > kShown)
    text += fmt::format("  and {} more (--report has all)\n", speed.kept_float.size() - kShown);
}

void add_budget(std::string& text, const BudgetReport& budget) {
  text += fmt::format("{}: {:.6g} of the float model, {} {:.6g} wanted{}\n", budget.metric, budget.float_value,
                      budget.larger_is_better ? "at least" : "at most", budget.limit,
                      budget.met ? "" : "; nothing tried meets it, this is the best");
  std::size_t width = 5;
  for (const TriedModel& tried : budget.tried) width = std::max(width, tried.label.size());
  text += fmt::format("  {:<{}}  {:>10} {:>10} {:>8}\n", "tried", width, budget.metric, "size", "speed");
  for (const TriedModel& tried : budget.tried)
    text += fmt::format("  {:<{}}  {:>10.6g} {:>10} {:>8} {}{}\n", tried.label, width, tried.value, bytes(tried.bytes),
                        tried.seconds > 0 ? fmt::format("{:.2f}x", tried.float_seconds / tried.seconds) : "",
                        tried.within ? "within" : "misses", tried.chosen ? ", chosen" : "");
}

Json to_json(const BudgetReport& budget) {
  Json json = {{"metric", budget.metric},
               {"larger_is_better", budget.larger_is_better},
               {"met", budget.met},
               {"float_value", number(budget.float_value)},
               {"limit", number(budget.limit)},
               {"float_bytes", budget.float_bytes}};
  json["tried"] = Json::array();
  for (const TriedModel& tried : budget.tried) {
    Json each = {{"label", tried.label}, {"value", number(tried.value)}, {"bytes", tried.bytes}};
    if (tried.seconds > 0) each.update({{"seconds", tried.seconds}, {"float_seconds", tried.float_seconds}});
    each.update(
        {{"within", tried.within}, {"pareto", tried.pareto}, {"chosen", tried.chosen}, {"recipe", Json::parse(tried.recipe)}});
    json["tried"].push_back(std::move(each));
  }
  return json;
}

void add_repairs(std::string& text, const std::vector<Repair>& repairs) {
  constexpr std::size_t kNamed = 3;
  std::vector<std::pair<const Repair*, std::vector<std::string>>> groups;  // alike, in the order of the rounds
  for (const Repair& repair : repairs) {
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      return group.first->action == repair.action && group.first->cause == repair.cause &&
             group.first->after_db == repair.after_db;
    });
    (same == groups.end() ? groups.emplace_back(&repair, std::vector<std::string>()) : *same).second.push_back(repair.node);
  }
  for (const auto& [first, names] : groups) {
    const std::size_t shown = std::min(names.size(), kNamed);
    text += fmt::format("  {} -> {}: {} for {}: {}{}\n", decibels(first->before_db), decibels(first->after_db), first->action,
                        first->cause, fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "),
                        names.size() > shown ? fmt::format(" and {} more", names.size() - shown) : "");
  }
}

void add_self_check(std::string& text, const Report& report) {
  if (!report.self_check) return;
  const SelfCheck& check = *report.self_check;
  if (check.samples == 0) {
    text += fmt::format("self check: none, {}\n", check.reason);
    return;
  }
  text += fmt::format("self check on {} samples{}: SQNR {}", check.samples,
                      check.kept_aside ? " kept aside" : " (calibrated on, too: there are too few to keep some aside)",
                      decibels(check.sqnr_db));
  if (check.top1_agreement) text += fmt::format(", top-1 agreement {}", percent(*check.top1_agreement));
  text += check.sound ? "\n" : fmt::format("\n  not sound: {}\n", check.reason);
  if (report.repairs.empty()) return;
  text += fmt::format("repairs ({} before them)\n", decibels(check.before_db));
  add_repairs(text, report.repairs);
}

}  // namespace

std::string to_text(const Report& report) {
  std::string text;
  if (!report.recipe.empty()) text += fmt::format("recipe {}\n", report.recipe);
  if (report.float_bytes > 0)
    text += fmt::format("constants {} -> {} ({:.1f} %)\n", bytes(report.float_bytes), bytes(report.quantized_bytes),
                        100 * static_cast<double>(report.quantized_bytes) / static_cast<double>(report.float_bytes));
  if (report.integer_coverage) text += fmt::format("integers {} of multiply-accumulates\n", percent(*report.integer_coverage));
  for (const StepGain& gain : report.steps)
    text += fmt::format("step {}: {} {:.4g} -> {:.4g} ({})\n", gain.step, gain.unit, gain.before, gain.after, gain.what);
  if (report.speed) add_speed(text, *report.speed);
  if (report.budget) add_budget(text, *report.budget);
  add_self_check(text, report);
  if (!report.outputs.empty()) text += fmt::format("outputs over {} samples, float against quantized\n", report.samples);
  for (const OutputMetrics& output : report.outputs) {
    text += fmt::format("  {}: SQNR {}, cosine {:.6f}, |error| mean {:.4g} max {:.4g}", output.name,
                        decibels(output.error.sqnr_db), output.error.cosine, output.error.mean_abs, output.error.max_abs);
    if (output.top1_agreement) text += fmt::format(", top-1 agreement {}", percent(*output.top1_agreement));
    if (output.top5_agreement) text += fmt::format(", top-5 {}", percent(*output.top5_agreement));
    text += '\n';
  }
  if (report.float_accuracy && report.quantized_accuracy) {
    text += fmt::format("accuracy over {} labelled samples\n", report.float_accuracy->samples);
    add_accuracy(text, "float", *report.float_accuracy);
    add_accuracy(text, "quantized", *report.quantized_accuracy);
    text += fmt::format("  drop       {:.2f} points\n", 100 * (report.float_accuracy->top1 - report.quantized_accuracy->top1));
  }
  if (!report.values.empty()) {
    text += "values on the way\n";
    std::size_t width = 5;
    for (const ValueMetrics& value : report.values) width = std::max(width, value.value.size());
    for (const ValueMetrics& value : report.values)
      text += fmt::format("  {:<{}}  {:>9}  cosine {:.6f}  max |error| {:.4g}{}{}\n", value.value, width,
                          decibels(value.error.sqnr_db), value.error.cosine, value.error.max_abs,
                          value.saturated > 0 ? fmt::format("  saturated {}", percent(value.saturated)) : "",
                          value.dead > 0 ? fmt::format("  dead {}", percent(value.dead)) : "");
  }
  if (!report.left_in_float.empty()) {
    text += "left in float\n";
    add_left_in_float(text, report.left_in_float);
  }
  if (!report.notes.empty()) {
    text += "notes\n";
    constexpr std::size_t kShown = 3;
    for (std::size_t i = 0; i < std::min(kShown, report.notes.size()); ++i) text += fmt::format("  {}\n", report.notes[i]);
    if (report.notes.size() > kShown)
      text += fmt::format("  and {} more like these; the JSON report has them all\n", report.notes.size() - kShown);
  }
  return text;
}

std::string to_json(const Report& report) {
  Json json = {{"format", "zeropoint.report"}, {"version", 1}};
  if (!report.model.empty()) json["model"] = report.model;
  if (!report.recipe.empty()) json["recipe"] = report.recipe;
  if (!report.recipe_json.empty()) json["recipe_json"] = recipe_object(report.recipe_json);
  if (!report.command.empty()) json["command"] = report.command;
  json["float_bytes"] = report.float_bytes;
  json["quantized_bytes"] = report.quantized_bytes;
  if (report.integer_coverage) json["integer_coverage"] = *report.integer_coverage;
  json["samples"] = report.samples;
  json["outputs"] = Json::array();
  for (const OutputMetrics& output : report.outputs) {
    Json each = {{"name", output.name}};
    each.update(to_json(output.error));
    if (output.rows > 0) each["rows"] = output.rows;
    if (output.top1_agreement) each["top1_agreement"] = *output.top1_agreement;
    if (output.top5_agreement) each["top5_agreement"] = *output.top5_agreement;
    json["outputs"].push_back(std::move(each));
  }
  if (report.float_accuracy) json["float_accuracy"] = to_json(*report.float_accuracy);
  if (report.quantized_accuracy) json["quantized_accuracy"] = to_json(*report.quantized_accuracy);
  json["values"] = Json::array();
  for (const ValueMetrics& value : report.values) {
    Json each = {{"value", value.value}, {"node", value.node}};
    each.update(to_json(value.error));
    each["saturated"] = value.saturated;
    each["dead"] = value.dead;
    json["values"].push_back(std::move(each));
  }
  json["left_in_float"] = Json::array();
  for (const FloatNode& node : report.left_in_float)
    json["left_in_float"].push_back({{"node", node.node}, {"op_type", node.op_type}, {"reason", node.reason}});
  json["notes"] = report.notes;
  if (report.latency)
    json["latency"] = {{"float_seconds", report.latency->float_seconds},
                       {"seconds", report.latency->seconds},
                       {"threads", report.latency->threads},
                       {"isas", report.latency->isas}};
  json["nodes"] = Json::array();
  for (const NodeReport& node : report.nodes) json["nodes"].push_back(to_json(node));
  json["distributions"] = Json::array();
  for (const ValueDistribution& one : report.distributions) json["distributions"].push_back(to_json(one));
  if (!report.steps.empty()) json["steps"] = Json::array();
  for (const StepGain& gain : report.steps)
    json["steps"].push_back({{"step", gain.step},
                             {"what", gain.what},
                             {"unit", gain.unit},
                             {"before", number(gain.before)},
                             {"after", number(gain.after)}});
  if (report.self_check) {
    const SelfCheck& check = *report.self_check;
    json["self_check"] = {{"samples", check.samples},
                          {"calibrated_on", check.calibrated_on},
                          {"kept_aside", check.kept_aside},
                          {"sound", check.sound},
                          {"reason", check.reason}};
    if (check.samples > 0) {
      json["self_check"]["sqnr_db"] = number(check.sqnr_db);
      json["self_check"]["before_db"] = number(check.before_db);
      json["self_check"]["least_db"] = check.least_db;
      if (check.top1_agreement) json["self_check"]["top1_agreement"] = *check.top1_agreement;
    }
    json["repairs"] = Json::array();
    for (const Repair& repair : report.repairs)
      json["repairs"].push_back({{"node", repair.node},
                                 {"op_type", repair.op_type},
                                 {"cause", repair.cause},
                                 {"action", repair.action},
                                 {"before_db", number(repair.before_db)},
                                 {"after_db", number(repair.after_db)}});
  }
  if (!report.sensitivity.empty()) {
    json["sensitivity"] = Json::array();
    for (const NodeSensitivity& node : report.sensitivity) json["sensitivity"].push_back(analyze::to_json(node));
  }
  if (report.speed) {
    json["speed"] = {{"float_seconds", report.speed->float_seconds}, {"seconds", report.speed->seconds}};
    json["speed"]["kept_float"] = Json::array();
    for (const NodeSpeed& node : report.speed->kept_float)
      json["speed"]["kept_float"].push_back({{"node", node.node},
                                             {"op_type", node.op_type},
                                             {"float_seconds", node.float_seconds},
                                             {"integer_seconds", node.integer_seconds}});
  }
  if (report.budget) json["budget"] = to_json(*report.budget);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace zeropoint
