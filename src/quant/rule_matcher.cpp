#include "quant/rule_matcher.h"

#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

constexpr std::size_t kLongestName = 2000;  // std::regex recurses over the text: a longer name could exhaust the stack

}  // namespace

const std::string& name_of(const Node& node) {
  if (!node.name.empty()) return node.name;
  for (const std::string& output : node.outputs)
    if (!output.empty()) return output;
  return node.name;
}

std::string scope_of_name(std::string_view name) {
  std::string scope;
  for (const char c : name.substr(0, kLongestName)) {
    if (std::string_view("\\^$.|?*+()[]{}").find(c) != std::string_view::npos) scope += '\\';
    scope += c;
  }
  return scope;
}

RuleMatcher::RuleMatcher(const Recipe& recipe) {
  for (std::size_t i = 0; i < recipe.rules.size(); ++i) {
    const Rule& rule = recipe.rules[i];
    try {
      rules_.push_back(
          {rule.scope == ".*", std::regex(rule.scope, std::regex::ECMAScript | std::regex::optimize), rule.op_type});
    } catch (const std::regex_error& error) {
      throw Error(ErrorCode::kBadRecipe, "/rules/" + std::to_string(i) + "/scope",
                  "'" + rule.scope + "' is not a regular expression: " + error.what());
    }
  }
}

std::optional<std::size_t> RuleMatcher::last_match(const Node& node) const {
  const std::string name = name_of(node).substr(0, kLongestName);
  for (std::size_t i = rules_.size(); i > 0; --i) {
    const Compiled& rule = rules_[i - 1];
    if (rule.op_type != "*" && rule.op_type != node.op_type) continue;
    if (rule.every_name || std::regex_match(name, rule.scope)) return i - 1;
  }
  return std::nullopt;
}

}  // namespace zeropoint::quant
