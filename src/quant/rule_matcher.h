// Which rule of a recipe holds for a node.
#pragma once

#include <cstddef>
#include <optional>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"

namespace zeropoint::quant {

class RuleMatcher {
 public:
  explicit RuleMatcher(const Recipe& recipe);  // throws Error kBadRecipe for a scope that is no regular expression
  // Index of the last rule whose op_type is the node's (or *) and whose scope matches its whole name; nameless nodes go by
  // their first output. None: nullopt.
  std::optional<std::size_t> last_match(const Node& node) const;

 private:
  struct Compiled {
    bool every_name;  // scope .* needs no search
    std::regex scope;
    std::string op_type;
  };
  std::vector<Compiled> rules_;
};

const std::string& name_of(const Node& node);      // its name, or its first output's
std::string scope_of_name(std::string_view name);  // a regular expression that matches this name alone

}  // namespace zeropoint::quant
