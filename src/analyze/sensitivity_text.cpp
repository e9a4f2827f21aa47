#include "analyze/sensitivity_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "zeropoint/sensitivity.h"

namespace zeropoint {
namespace analyze {
namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

Json to_json(const NodeSensitivity& node) {
  Json json = {{"node", node.node},
               {"op_type", node.op_type},
               {"alone_db", number(node.alone_db)},
               {"values_db", number(node.values_db)},
               {"weights_db", number(node.weights_db)},
               {"share", node.share},
               {"measured", node.measured},
               {"restored_db", number(node.restored_db)},
               {"restored_measured", node.restored_measured},
               {"macs_share", node.macs_share},
               {"cause", node.cause},
               {"figures", node.figures},
               {"fix", node.fix}};
  json["recipe"] = node.recipe.empty() ? Json(nullptr) : Json::parse(node.recipe);
  return json;
}

}  // namespace analyze

namespace {

std::string decibels(double value, bool measured) {
  return std::isfinite(value) ? fmt::format("{}{:.1f}", measured ? "" : "~", value) : "-";
}

}  // namespace

std::string to_text(const Sensitivity& sensitivity, std::optional<std::size_t> most) {
  std::string text = fmt::format(
      "{} by {} samples: SQNR {:.2f} dB with every node quantized; of {} quantizers and weights {} were measured one "
      "by one{}\n",
      sensitivity.recipe, sensitivity.samples, sensitivity.sqnr_db, sensitivity.sources, sensitivity.measured,
      sensitivity.measured < sensitivity.sources ? ", the others estimated (~) by their error where they stand" : "");
  const std::size_t shown = std::min(most.value_or(sensitivity.nodes.size()), sensitivity.nodes.size());
  std::size_t width = 4;
  for (std::size_t i = 0; i < shown; ++i) width = std::max(width, std::min<std::size_t>(60, sensitivity.nodes[i].node.size()));
  text += fmt::format("{:>8}  {:>6}  {:>9}  {:>6}  {:<10}  {:<{}}  {}\n", "alone", "share", "restored", "work", "operator",
                      "node", width, "cause");
  for (std::size_t i = 0; i < shown; ++i) {
    const NodeSensitivity& node = sensitivity.nodes[i];
    text += fmt::format("{:>8}  {:>4.0f} %  {:>9}  {:>4.1f} %  {:<10.10}  {:<{}.60}  {}: {}\n",
                        decibels(node.alone_db, node.measured), 100 * node.share,
                        decibels(node.restored_db, node.restored_measured), 100 * node.macs_share, node.op_type, node.node,
                        width, node.cause, node.figures);
  }
  if (shown < sensitivity.nodes.size()) text += fmt::format("and {} more nodes\n", sensitivity.nodes.size() - shown);
  text += "what to do\n";
  constexpr std::size_t kFixes = 5;
  for (std::size_t i = 0; i < std::min({kFixes, shown}); ++i) {
    const NodeSensitivity& node = sensitivity.nodes[i];
    text += fmt::format("  {}: {}\n", node.node, node.fix);
    if (!node.recipe.empty()) text += fmt::format("    {}\n", node.recipe);
  }
  return text;
}

std::string to_json(const Sensitivity& sensitivity) {
  nlohmann::ordered_json json = {{"recipe", sensitivity.recipe},
                                 {"samples", sensitivity.samples},
                                 {"sqnr_db", std::isfinite(sensitivity.sqnr_db) ? nlohmann::ordered_json(sensitivity.sqnr_db)
                                                                                : nlohmann::ordered_json(nullptr)},
                                 {"sources", sensitivity.sources},
                                 {"measured", sensitivity.measured}};
  json["nodes"] = nlohmann::ordered_json::array();
  for (const NodeSensitivity& node : sensitivity.nodes) json["nodes"].push_back(analyze::to_json(node));
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace zeropoint
