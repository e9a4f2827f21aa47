// Recipe: what to quantize, and how, as data.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/qparams.h"

namespace zeropoint {

// How one tensor becomes integers.
struct Scheme {
  DType dtype = DType::u8;
  Granularity granularity = PerTensor{};
  bool symmetric = false;
  std::string range = "min_max";                             // a range method: min_max percentile mse kl_divergence averaged_min_max
  double parameter = 0;                                      // of the method (the percentile); 0 is the method's default
  friend bool operator==(const Scheme&, const Scheme&) = default;
};

// "Quantize nodes of type `op_type` whose name matches `scope` with these schemes." Without schemes: keep them in float.
struct Rule {
  std::string scope = ".*";                                  // regular expression over the node's name, matched whole
  std::string op_type = "*";
  std::optional<Scheme> activation, weight;
  friend bool operator==(const Rule&, const Rule&) = default;
};

// An algorithm run on the whole graph, in order: {"name": "bias_correction"}.
struct Step {
  std::string name;
  std::vector<std::pair<std::string, double>> parameters;
  friend bool operator==(const Step&, const Step&) = default;
};

enum class Target : std::uint8_t { onnxruntime, openvino, zeropoint };
std::string_view name(Target target);

struct Recipe {
  std::string name = "custom";
  Target target = Target::onnxruntime;                       // whose fusions the placement of Q/DQ serves
  std::vector<Rule> rules;                                   // last match wins
  std::vector<Step> steps;
  friend bool operator==(const Recipe&, const Recipe&) = default;

  Recipe& keep_float(std::string scope);
};

std::string to_json(const Recipe& recipe);                   // pretty, stable order
Recipe parse_recipe(std::string_view json, const std::string& where = "recipe");  // Error kBadRecipe with the JSON pointer

namespace recipes {
Recipe static_w8a8();
Recipe named(std::string_view name);                         // Error kBadRecipe listing the names
std::vector<std::string> names();
}  // namespace recipes

}  // namespace zeropoint
