// The recipes that ship with the library: recipes/*.json, embedded when it is built.
#pragma once

#include <span>
#include <string_view>

namespace zeropoint::quant {

struct BuiltinRecipe {
  std::string_view name, json;
};
std::span<const BuiltinRecipe> builtin_recipes();

}  // namespace zeropoint::quant
