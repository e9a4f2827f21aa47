// Recipe: what to quantize, and how, as data.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/qparams.h"

namespace zeropoint {

// Dynamic activations with a scale for each row: none; values that a product of two activations made (GELU, gates), whose few
// large rows would else decide the scale of all; every value.
enum class Rows : std::uint8_t { none, gated, all };

// How one tensor becomes integers.
struct Scheme {
  DType dtype = DType::u8;
  // Weights: PerChannel, of the operator's output channels; PerGroup, of `size` weights that a sum runs over (axis stays 0).
  Granularity granularity = PerTensor{};
  bool symmetric = false;         // zero point 0 and no lowest value: s8 holds -127 ... 127
  std::string range = "min_max";  // activations: range_methods(), weights: weight_range_methods()
  double parameter = 0;           // of the method (percent kept by `percentile`); 0 is its default
  bool dynamic = false;           // activations: the range is that of the values at hand, at run time; needs no samples
  Rows rows = Rows::none;         // dynamic: which values have a scale for each row (along their last axis)
  int bits = 0;                   // levels of so many bits in the type, when they are fewer than its own; 0: all of them
  bool power_of_two = false;      // scales are powers of two: the least that covers the range
  friend bool operator==(const Scheme&, const Scheme&) = default;
};

// "Quantize nodes of type `op_type` whose name matches `scope` with these schemes." Without schemes: keep them in float. With a
// scheme of weights alone: store the weights as integers, compute in float.
struct Rule {
  std::string scope = ".*";  // regular expression over the node's name, matched whole
  std::string op_type = "*";
  std::optional<Scheme> activation{}, weight{};
  DType float_type = DType::f32;  // without schemes: f16 or bf16 computes and stores in that type (convert_floats)
  friend bool operator==(const Rule&, const Rule&) = default;
};

// An algorithm run on the whole graph: {"name": "bias_correction"}. docs/recipes.md has the names, parameters and order.
struct Step {
  std::string name;
  std::vector<std::pair<std::string, double>> parameters;
  friend bool operator==(const Step&, const Step&) = default;
};

enum class Target : std::uint8_t { onnxruntime, openvino, zeropoint };
std::string_view name(Target target);
std::optional<Target> parse_target(std::string_view text);
const std::vector<std::string>& target_names();
std::int64_t newest_opset(Target target);  // of the standard operators that its runtime takes
bool takes_two_bits(Target target);        // integers of 2 bits

struct Recipe {
  std::string name = "custom";
  Target target = Target::onnxruntime;  // whose fusions the placement of Q/DQ serves
  std::vector<Rule> rules;              // last match wins
  std::vector<Step> steps;
  // Target zeropoint: quantize nodes, too, that are slower in integers by the engine's table of costs (docs/recipes.md).
  bool all_integers = false;
  // What a self check repaired: quantize() judges it again, but changes nothing (docs/diagnosis.md). Any change of the recipe by
  // the functions below takes the mark off.
  bool checked = false;
  friend bool operator==(const Recipe&, const Recipe&) = default;

  Recipe& keep_float(std::string scope);  // adds a rule without schemes
  bool has_step(std::string_view step) const;
  bool needs_samples() const;        // some rule fixes ranges of activations beforehand, or some step runs the network
  bool steps_need_samples() const;   // some step does; statistics do not suffice for it
  bool converts_floats() const;      // some rule computes in f16 or bf16; then none has schemes
  bool has_data_free_rules() const;  // some rule needs no samples: dynamic activations, or weights alone
  Recipe& add_step(Step step);       // Error kBadRecipe for an unknown step or parameter, or one out of bounds
  Recipe& set_range(std::string_view method, double parameter = 0);  // of all activations; Error kBadRecipe when unknown
};

std::string to_json(const Recipe& recipe);  // pretty, stable order; parse_recipe gives the same recipe back
// Throws Error kBadRecipe for anything but a recipe as docs/recipes.md defines it; its `where` is the JSON pointer of the
// offending element ("/rules/0/weight/dtype"; "" is the whole text), `source` (a file's name) starts the message.
Recipe parse_recipe(std::string_view json, const std::string& source = "recipe");

namespace recipes {
Recipe static_w8a8();
Recipe dynamic_w8a8();
Recipe named(std::string_view name);  // Error kBadRecipe listing the names
std::vector<std::string> names();
}  // namespace recipes

}  // namespace zeropoint
