// The two forms of an Inspection that people and programs read.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "zeropoint/inspect.h"

namespace zeropoint {
namespace {

using Json = nlohmann::ordered_json;

std::string bytes(std::uint64_t count) {
  const double value = static_cast<double>(count);
  if (count < 10000) return fmt::format("{} B", count);
  if (value < 1e6) return fmt::format("{:.1f} kB", value / 1e3);
  return value < 1e9 ? fmt::format("{:.2f} MB", value / 1e6) : fmt::format("{:.2f} GB", value / 1e9);
}
std::string amount(std::int64_t count) {
  const double value = static_cast<double>(count);
  if (count < 10000) return fmt::format("{}", count);
  if (value < 1e6) return fmt::format("{:.1f} k", value / 1e3);
  return value < 1e9 ? fmt::format("{:.2f} M", value / 1e6) : fmt::format("{:.2f} G", value / 1e9);
}
std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

// "49 Conv, 1 Gemm"; the first few where not all are wanted.
std::string counted(const std::map<std::string, std::int64_t>& counts, std::size_t most) {
  std::vector<std::pair<std::string, std::int64_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  std::string text;
  for (std::size_t i = 0; i < std::min(most, sorted.size()); ++i)
    text += fmt::format("{}{} {}", i == 0 ? "" : ", ", sorted[i].second, printable(sorted[i].first));
  if (sorted.size() > most) text += fmt::format(" and {} more kinds", sorted.size() - most);
  return text;
}

class Writer {
 public:
  Writer(const Inspection& inspection, const InspectionText& options) : i_(inspection), options_(options) {}

  std::string write() {
    if (options_.sizes) {
      sizes();
      return std::move(text_);
    }
    text_ += fmt::format("{} nodes, {} parameters in {}, opset {}, IR {}\n", i_.nodes, amount(i_.parameters),
                         bytes(i_.parameter_bytes), i_.opset, i_.ir_version);
    for (const auto& [domain, version] : i_.opsets)
      if (!domain.empty()) text_ += fmt::format("  also {} {}\n", printable(domain), version);
    values("inputs", i_.inputs);
    values("outputs", i_.outputs);
    operators();
    sizes();
    if (i_.quantized) text_ += "quantized: it holds quantized operators\n";
    if (i_.plan) plan(*i_.plan);
    if (i_.engine) engine(*i_.engine);
    metadata();
    if (folded_) text_ += "(--all shows the lists in full)\n";
    return std::move(text_);
  }

 private:
  std::size_t most(std::size_t few) const { return options_.all ? static_cast<std::size_t>(-1) : few; }
  void more(std::size_t all, std::size_t shown, const char* what) {
    if (all <= shown) return;
    text_ += fmt::format("  and {} more {}\n", all - shown, what);
    folded_ = true;
  }

  void values(const char* title, const std::vector<ValueInfo>& infos) {
    text_ += fmt::format("{}\n", title);
    const std::size_t shown = std::min(most(10), infos.size());
    std::vector<std::string> names;
    std::size_t width = 0;
    for (std::size_t i = 0; i < shown; ++i) {
      names.push_back(printable(infos[i].name));
      width = std::max(width, names.back().size());
    }
    for (std::size_t i = 0; i < shown; ++i) text_ += fmt::format("  {:<{}}  {}\n", names[i], width, to_string(infos[i].type));
    more(infos.size(), shown, title);
  }

  void operators() {
    text_ += "operators";
    if (i_.macs > 0) text_ += fmt::format(", {} multiply-accumulates", amount(i_.macs));
    if (i_.macs > 0 && !i_.macs_complete) text_ += " that are known";
    for (const auto& [input, dims] : i_.assumed)
      text_ +=
          fmt::format("{}{} = {}", &input == &i_.assumed.begin()->first ? " at " : ", ", printable(input), to_string(dims));
    text_ += "\n";
    if (!i_.assumed.empty() && !i_.macs_complete)
      text_ += "  (not all work is known at dimensions of 1: give others by --shape NAME=1,3,224,224)\n";
    const std::size_t shown = std::min(most(12), i_.operators.size());
    std::size_t width = 0;
    for (std::size_t k = 0; k < shown; ++k) width = std::max(width, printable(i_.operators[k].op_type).size());
    for (std::size_t k = 0; k < shown; ++k) {
      const OperatorCount& entry = i_.operators[k];
      std::string line = fmt::format("  {:>5}  {:<{}}", entry.count, printable(entry.op_type), width);
      if (entry.macs && i_.macs > 0)
        line += fmt::format("  {:>7} of the work", percent(static_cast<double>(*entry.macs) / static_cast<double>(i_.macs)));
      if (entry.in_bodies > 0) line += fmt::format("  {} in bodies", entry.in_bodies);
      if (!entry.known) line += "  unknown to this version: stays as it is, cannot run";
      line.erase(line.find_last_not_of(' ') + 1);
      text_ += line + "\n";
    }
    for (std::size_t k = shown; k < i_.operators.size(); ++k)
      if (!i_.operators[k].known)
        text_ += fmt::format("  {:>5}  {}  unknown to this version: stays as it is, cannot run\n", i_.operators[k].count,
                             printable(i_.operators[k].op_type));
    more(i_.operators.size(), shown, "kinds");
  }

  void sizes() {
    text_ += fmt::format("size of all constants ({} of {} parameters are weights that can become integers)\n",
                         amount(i_.quantizable_parameters), amount(i_.parameters));
    // A line a width, a column a group.
    text_ += "        a channel";
    for (const SizeAt& size : i_.sizes)
      if (size.group != 0 && size.bits == i_.sizes.back().bits) text_ += fmt::format("  {:>9}", fmt::format("g{}", size.group));
    text_ += "  (weights that share a scale)\n";
    for (const SizeAt& size : i_.sizes) {
      if (size.group == 0) text_ += fmt::format("  {:<4}", size.format);
      text_ += fmt::format("  {:>9}", bytes(size.bytes));
      if (&size == &i_.sizes.back() || (&size + 1)->group == 0) text_ += "\n";
    }
  }

  void float_nodes(const std::vector<FloatNode>& nodes) {
    struct Group {
      const FloatNode* first;
      std::vector<std::string> names;
    };
    std::vector<Group> groups;  // in the order of their first nodes
    std::map<std::pair<std::string_view, std::string_view>, std::size_t> index;
    for (const FloatNode& node : nodes) {
      const auto [at, is_new] = index.try_emplace({node.op_type, node.reason}, groups.size());
      if (is_new) groups.emplace_back(&node, std::vector<std::string>());
      groups[at->second].names.push_back(printable(node.node));
    }
    const std::size_t shown = std::min(most(10), groups.size());
    for (std::size_t k = 0; k < shown; ++k) {
      text_ += fmt::format("    {:>4} {}: {}\n", groups[k].names.size(), printable(groups[k].first->op_type),
                           printable(groups[k].first->reason));
      if (options_.all) text_ += fmt::format("         {}\n", fmt::join(groups[k].names, ", "));
    }
    if (groups.size() > shown) {
      text_ += fmt::format("    and {} more kinds\n", groups.size() - shown);
      folded_ = true;
    }
  }

  void plan(const PlannedQuantization& plan) {
    text_ += fmt::format("{} for {} would ", plan.recipe, name(plan.target));
    if (!plan.refused.empty()) {
      text_ += "do nothing\n  " + plan.refused + "\n";
      return;
    }
    text_ += plan.integer_coverage ? fmt::format("make {} of the work integers\n", percent(*plan.integer_coverage))
                                   : "make these integers\n";
    if (!plan.integer_operators.empty())
      text_ += fmt::format("  integers  {}{}\n", counted(plan.integer_operators, most(8)),
                           plan.activations > 0 ? fmt::format(", with {} quantized values between", plan.activations) : "");
    if (!plan.weight_operators.empty())
      text_ += fmt::format("  weights   {} store them as integers\n", counted(plan.weight_operators, most(8)));
    if (plan.left_in_float.empty()) {
      text_ += "  float     nothing\n";
    } else {
      text_ += fmt::format("  float     {} nodes\n", plan.left_in_float.size());
      float_nodes(plan.left_in_float);
    }
  }

  void engine(const EngineSupport& engine) {
    if (!engine.refused.empty()) {
      text_ += fmt::format("zeropoint's engine cannot run it{}\n  {}\n",
                           i_.assumed.empty() ? "" : " at dimensions of 1 (--shape gives others)", engine.refused);
      return;
    }
    const std::int64_t all = engine.integer.macs + engine.floating.macs + engine.reference.macs;
    text_ += "zeropoint's engine runs it\n";
    const auto path = [&](const char* title, const EnginePath& each) {
      if (each.steps == 0) return;
      text_ += fmt::format("  {:<10} {:>4} steps", title, each.steps);
      if (all > 0)
        text_ += fmt::format(", {:>7} of the work", percent(static_cast<double>(each.macs) / static_cast<double>(all)));
      text_ += fmt::format(": {}\n", counted(each.operators, most(5)));
      if (!options_.all && each.operators.size() > 5) folded_ = true;
    };
    path("integer", engine.integer);
    path("float", engine.floating);
    path("reference", engine.reference);
    if (!engine.slow.empty()) {
      text_ += "  not on the fastest path\n";
      float_nodes(engine.slow);
    }
  }

  void metadata() {
    bool any = false;
    for (const auto& [key, value] : i_.metadata) {
      if (!options_.all && !key.starts_with("zeropoint.")) continue;
      if (!any) text_ += "metadata\n";
      any = true;
      std::string line;  // recipes are JSON over many lines
      for (const char c : value)
        if (!std::isspace(static_cast<unsigned char>(c))) line += c;
      text_ += fmt::format("  {}: {}\n", printable(key),
                           printable(!options_.all && line.size() > 100 ? line.substr(0, 100) + "..." : line));
    }
  }

  const Inspection& i_;
  const InspectionText& options_;
  std::string text_;
  bool folded_ = false;
};

Json to_json(const std::vector<ValueInfo>& values) {
  Json json = Json::array();
  for (const ValueInfo& value : values)
    json.push_back({{"name", value.name},
                    {"dtype", name(value.type.dtype)},
                    {"shape", value.type.shape ? to_string(*value.type.shape) : "?"}});
  return json;
}

Json to_json(const std::vector<FloatNode>& nodes) {
  Json json = Json::array();
  for (const FloatNode& node : nodes) json.push_back({{"node", node.node}, {"op_type", node.op_type}, {"reason", node.reason}});
  return json;
}

Json to_json(const EnginePath& path) { return {{"steps", path.steps}, {"macs", path.macs}, {"operators", path.operators}}; }

}  // namespace

std::string to_text(const Inspection& inspection, const InspectionText& options) { return Writer(inspection, options).write(); }

std::string to_json(const Inspection& i) {
  Json json = {{"opset", i.opset},
               {"opsets", i.opsets},
               {"ir_version", i.ir_version},
               {"nodes", i.nodes},
               {"parameters", i.parameters},
               {"parameter_bytes", i.parameter_bytes},
               {"quantizable_parameters", i.quantizable_parameters},
               {"bytes_by_type", i.bytes_by_type},
               {"macs", i.macs},
               {"macs_complete", i.macs_complete},
               {"assumed_shapes", i.assumed},
               {"inputs", to_json(i.inputs)},
               {"outputs", to_json(i.outputs)},
               {"quantized", i.quantized}};
  json["operators"] = Json::array();
  json["unknown"] = Json::array();
  for (const OperatorCount& entry : i.operators) {
    Json each = {{"op_type", entry.op_type}, {"count", entry.count}, {"in_bodies", entry.in_bodies}, {"known", entry.known}};
    if (entry.macs) each["macs"] = *entry.macs;
    json["operators"].push_back(std::move(each));
    if (!entry.known) json["unknown"].push_back(entry.op_type);
  }
  for (const SizeAt& size : i.sizes) json["sizes"][size.format] = size.bytes;
  if (i.plan) {
    const PlannedQuantization& plan = *i.plan;
    Json each = {{"recipe", plan.recipe}, {"target", name(plan.target)}};
    if (!plan.refused.empty()) each["refused"] = plan.refused;
    if (plan.integer_coverage) each["integer_coverage"] = *plan.integer_coverage;
    each["integer_operators"] = plan.integer_operators;
    each["weight_operators"] = plan.weight_operators;
    each["activations"] = plan.activations;
    each["left_in_float"] = to_json(plan.left_in_float);
    json["plan"] = std::move(each);
  }
  if (i.engine) {
    Json each = Json::object();
    if (!i.engine->refused.empty()) each["refused"] = i.engine->refused;
    each["integer"] = to_json(i.engine->integer);
    each["float"] = to_json(i.engine->floating);
    each["reference"] = to_json(i.engine->reference);
    each["slow"] = to_json(i.engine->slow);
    json["engine"] = std::move(each);
  }
  json["metadata"] = i.metadata;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace zeropoint
