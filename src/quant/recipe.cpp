#include "zeropoint/recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <regex>
#include <span>
#include <utility>

#include "quant/builtin_recipes.h"
#include "quant/steps.h"
#include "zeropoint/error.h"
#include "zeropoint/ranges.h"

namespace zeropoint {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kDeepest = 16;                 // nesting of a recipe is at most 4; this only bounds hostile input
constexpr std::size_t kLongestScope = 1000;  // std::regex compiles recursively
constexpr std::array<DType, 6> kActivationTypes = {DType::u8, DType::s8, DType::u16, DType::s16, DType::u4, DType::s4};
constexpr std::array<DType, 8> kWeightTypes = {DType::s8,  DType::u8,  DType::s4, DType::u4,
                                               DType::s16, DType::u16, DType::s2, DType::u2};
constexpr std::array<std::string_view, 2> kScales = {"real", "power_of_two"};
constexpr std::array<std::string_view, 3> kFloatTypes = {"f32", "f16", "bf16"};
constexpr int kLeastBits = 2, kMostBits = 16;
constexpr std::int64_t kLeastGroup = 2, kMostGroup = 1 << 20;

// A place in the text: everything read from it is checked, and errors carry the place's JSON pointer.
class Reader {
 public:
  Reader(const Json& json, std::string pointer, const std::string& source)
      : json_(json), pointer_(std::move(pointer)), source_(source) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::kBadRecipe, pointer_, fmt::format("{}: {}", source_, message));
  }
  void check_object(std::initializer_list<std::string_view> keys) const {
    if (!json_.is_object()) fail(fmt::format("must be an object, not {}", json_.type_name()));
    for (const auto& [key, value] : json_.items())
      if (std::find(keys.begin(), keys.end(), key) == keys.end())
        Reader(value, child(key), source_).fail(fmt::format("unknown key; known are {}", fmt::join(keys, ", ")));
  }
  bool has(std::string_view key) const { return json_.contains(key); }
  Reader at(std::string_view key) const { return {json_.at(std::string(key)), child(key), source_}; }
  std::vector<Reader> items() const {
    if (!json_.is_array()) fail(fmt::format("must be an array, not {}", json_.type_name()));
    std::vector<Reader> result;
    for (std::size_t i = 0; i < json_.size(); ++i) result.emplace_back(json_[i], child(std::to_string(i)), source_);
    return result;
  }
  std::vector<std::pair<std::string, Reader>> members() const {
    if (!json_.is_object()) fail(fmt::format("must be an object, not {}", json_.type_name()));
    std::vector<std::pair<std::string, Reader>> result;
    for (const auto& [key, value] : json_.items()) result.emplace_back(key, Reader(value, child(key), source_));
    return result;
  }
  std::string text() const {
    if (!json_.is_string()) fail(fmt::format("must be a string, not {}", json_.type_name()));
    return json_.get<std::string>();
  }
  bool boolean() const {
    if (!json_.is_boolean()) fail(fmt::format("must be true or false, not {}", json_.type_name()));
    return json_.get<bool>();
  }
  double number() const {
    if (!json_.is_number()) fail(fmt::format("must be a number, not {}", json_.type_name()));
    return json_.get<double>();
  }
  template <class Names>
  std::string one_of(const Names& names) const {
    const std::string value = text();
    if (std::find(names.begin(), names.end(), value) == names.end())
      fail(fmt::format("'{}' is not known; known are {}", value, fmt::join(names, ", ")));
    return value;
  }

 private:
  std::string child(std::string_view key) const {  // RFC 6901: ~ and / of keys are escaped
    std::string result = pointer_ + "/";
    for (const char c : key) result += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
    return result;
  }
  const Json& json_;
  std::string pointer_;
  const std::string& source_;
};

Scheme default_scheme(bool of_weight) {
  if (of_weight) return {.dtype = DType::s8, .granularity = PerChannel{0}, .symmetric = true};
  return {};
}

// The narrowest type that holds so many bits.
DType storage_of(int bits, bool is_signed) {
  if (bits <= 2 && is_signed) return DType::s2;
  if (bits <= 4) return is_signed ? DType::s4 : DType::u4;
  if (bits <= 8) return is_signed ? DType::s8 : DType::u8;
  return is_signed ? DType::s16 : DType::u16;
}

void read_bits(const Reader& reader, bool of_weight, Scheme& scheme) {
  if (!reader.has("bits")) return;
  const Reader at = reader.at("bits");
  const double count = at.number();
  if (!(count >= kLeastBits && count <= kMostBits && count == std::floor(count)))
    at.fail(fmt::format("integers have {} ... {} bits", kLeastBits, kMostBits));
  const int chosen = static_cast<int>(count);
  if (!reader.has("dtype")) scheme.dtype = storage_of(chosen, of_weight);
  if (chosen > bits(scheme.dtype)) at.fail(fmt::format("{} has {} bits", name(scheme.dtype), bits(scheme.dtype)));
  if (chosen < bits(scheme.dtype)) scheme.bits = chosen;
}

constexpr std::array<std::string_view, 3> kGranularities = {"per_tensor", "auto", "per_row"};  // of Rows, in its order
Rows rows_of(std::string_view granularity) {
  return static_cast<Rows>(std::find(kGranularities.begin(), kGranularities.end(), granularity) - kGranularities.begin());
}

// Chosen at run time, from the values at hand: what DynamicQuantizeLinear does, or its like for each row.
Scheme read_dynamic_scheme(const Reader& reader) {
  reader.check_object({"dynamic", "dtype", "granularity"});
  Scheme scheme{.dynamic = true};
  if (reader.has("granularity")) scheme.rows = rows_of(reader.at("granularity").one_of(kGranularities));
  if (reader.has("dtype")) reader.at("dtype").one_of(std::array<std::string_view, 1>{"u8"});
  return scheme;
}

Scheme read_scheme(const Reader& reader, bool of_weight) {
  if (!of_weight && reader.has("dynamic") && reader.at("dynamic").boolean()) return read_dynamic_scheme(reader);
  if (of_weight)
    reader.check_object({"dtype", "bits", "granularity", "group", "symmetric", "scale", "range", "parameter"});
  else
    reader.check_object({"dynamic", "dtype", "bits", "granularity", "symmetric", "scale", "range", "parameter"});
  Scheme scheme = default_scheme(of_weight);
  if (reader.has("dtype")) {
    const std::span<const DType> types = of_weight ? std::span<const DType>(kWeightTypes) : kActivationTypes;
    std::vector<std::string_view> names;
    for (const DType type : types) names.push_back(name(type));
    scheme.dtype = *parse_dtype(reader.at("dtype").one_of(names));
  }
  read_bits(reader, of_weight, scheme);
  if (reader.has("scale")) scheme.power_of_two = reader.at("scale").one_of(kScales) == "power_of_two";
  if (reader.has("granularity")) {
    std::vector<std::string_view> names = {"per_tensor"};
    if (of_weight) names.insert(names.end(), {"per_channel", "per_group"});
    const std::string chosen = reader.at("granularity").one_of(names);
    scheme.granularity = PerTensor{};
    if (chosen == "per_channel") scheme.granularity = PerChannel{0};
    if (chosen == "per_group") scheme.granularity = PerGroup{};
  }
  if (reader.has("group")) {
    auto* group = std::get_if<PerGroup>(&scheme.granularity);
    if (!group) reader.at("group").fail("a size of groups goes with the granularity per_group");
    const double size = reader.at("group").number();
    if (!(size >= kLeastGroup && size <= kMostGroup && size == std::floor(size)))
      reader.at("group").fail(fmt::format("a group has {} ... {} weights", kLeastGroup, kMostGroup));
    group->size = static_cast<std::int64_t>(size);
  }
  const bool is_signed = lowest(scheme.dtype) < 0;
  scheme.symmetric = reader.has("symmetric") ? reader.at("symmetric").boolean() : of_weight && is_signed;
  if (scheme.symmetric && !is_signed)
    (reader.has("symmetric") ? reader.at("symmetric") : reader).fail("symmetric parameters need a signed type such as s8");
  if (reader.has("range")) scheme.range = reader.at("range").one_of(of_weight ? weight_range_methods() : range_methods());
  if (reader.has("parameter")) {
    scheme.parameter = reader.at("parameter").number();
    if (scheme.range != "percentile")
      reader.at("parameter").fail(fmt::format("the range method '{}' has no parameter", scheme.range));
    if (!(scheme.parameter > 50 && scheme.parameter <= 100))
      reader.at("parameter").fail("a percentile lies above 50 and is at most 100");
  }
  return scheme;
}

Rule read_rule(const Reader& reader) {
  reader.check_object({"scope", "op_type", "activation", "weight", "float"});
  Rule rule;
  if (reader.has("scope")) {
    const Reader scope = reader.at("scope");
    rule.scope = scope.text();
    if (rule.scope.size() > kLongestScope) scope.fail(fmt::format("a scope has at most {} characters", kLongestScope));
    try {
      std::regex compiled(rule.scope);
    } catch (const std::regex_error& error) {
      scope.fail(fmt::format("'{}' is not a regular expression: {}", rule.scope, error.what()));
    }
  }
  if (reader.has("op_type")) rule.op_type = reader.at("op_type").text();
  if (reader.has("activation")) rule.activation = read_scheme(reader.at("activation"), false);
  if (reader.has("weight")) rule.weight = read_scheme(reader.at("weight"), true);
  if (reader.has("float")) {
    rule.float_type = *parse_dtype(reader.at("float").one_of(kFloatTypes));
    if (rule.float_type != DType::f32 && (rule.activation || rule.weight))
      reader.at("float").fail("nodes compute either in another float type or in integers");
  }
  if (rule.activation && rule.weight) {
    if (rule.activation->dynamic && bits(rule.weight->dtype) != 8)
      reader.at("weight").fail("integer products with dynamic activations take weights of 8 bits; of fewer levels by `bits`");
    if (std::holds_alternative<PerGroup>(rule.weight->granularity))
      reader.at("weight").fail(
          "groups of weights are for rules without a scheme of activations: integer sums need one scale a channel");
  }
  if (rule.activation && rule.activation->dynamic && !rule.weight)
    reader.at("activation").fail("dynamic activations meet quantized weights: the rule needs a scheme for them");
  return rule;
}

double read_parameter(const Reader& reader, std::string_view key, const quant::StepRule& rule) {
  const auto found = std::find_if(rule.parameters.begin(), rule.parameters.end(),
                                  [&](const quant::StepParameter& each) { return each.name == key; });
  if (found == rule.parameters.end()) {
    if (rule.parameters.empty()) reader.fail(fmt::format("the step '{}' has no parameters", rule.name));
    std::vector<std::string_view> names;
    for (const quant::StepParameter& each : rule.parameters) names.push_back(each.name);
    reader.fail(fmt::format("the step '{}' has no parameter '{}'; known are {}", rule.name, key, fmt::join(names, ", ")));
  }
  const double value = reader.number();
  if (!(value >= found->least && value <= found->most) || (found->whole && value != std::floor(value)))
    reader.fail(fmt::format("must be {} {} ... {}, not {}", found->whole ? "a whole number" : "a number", found->least,
                            found->most, value));
  return value;
}

Step read_step(const Reader& reader) {
  reader.check_object({"name", "parameters"});
  if (!reader.has("name")) reader.fail("a step needs a name");
  Step step;
  step.name = reader.at("name").text();
  const quant::StepRule* rule = quant::find_step(step.name);
  if (!rule) {
    std::vector<std::string_view> names;
    for (const quant::StepRule& each : quant::step_rules()) names.push_back(each.name);
    reader.at("name").fail(fmt::format("no step is called '{}'; known are {}", step.name, fmt::join(names, ", ")));
  }
  if (reader.has("parameters"))
    for (const auto& [key, value] : reader.at("parameters").members())
      step.parameters.emplace_back(key, read_parameter(value, key, *rule));
  return step;
}

Json write_scheme(const Scheme& scheme) {
  Json json;
  if (scheme.dynamic) {
    json["dynamic"] = true;
    json["dtype"] = name(scheme.dtype);
    json["granularity"] = kGranularities[static_cast<std::size_t>(scheme.rows)];
    return json;
  }
  json["dtype"] = name(scheme.dtype);
  if (scheme.bits != 0) json["bits"] = scheme.bits;
  const auto* group = std::get_if<PerGroup>(&scheme.granularity);
  json["granularity"] = group                                                   ? "per_group"
                        : std::holds_alternative<PerTensor>(scheme.granularity) ? "per_tensor"
                                                                                : "per_channel";
  if (group) json["group"] = group->size;
  json["symmetric"] = scheme.symmetric;
  if (scheme.power_of_two) json["scale"] = "power_of_two";
  json["range"] = scheme.range;
  if (scheme.parameter != 0) json["parameter"] = scheme.parameter;
  return json;
}

}  // namespace

std::string_view name(Target target) {
  switch (target) {
    case Target::onnxruntime:
      return "onnxruntime";
    case Target::openvino:
      return "openvino";
    case Target::zeropoint:
      return "zeropoint";
  }
  return "unknown";
}

const std::vector<std::string>& target_names() {
  static const std::vector<std::string> names = {"onnxruntime", "openvino", "zeropoint"};
  return names;
}

std::int64_t newest_opset(Target target) {
  switch (target) {
    case Target::onnxruntime:
      return 26;  // 1.32 has kernels for 27, not for 28
    case Target::openvino:
      return 24;  // 2026.4 reads newer files, too, but not all of their operators
    case Target::zeropoint:
      return 26;
  }
  return 0;
}

bool takes_two_bits(Target target) { return target == Target::zeropoint; }  // ONNX Runtime 1.32, OpenVINO 2026.4: no

std::optional<Target> parse_target(std::string_view text) {
  for (const Target target : {Target::onnxruntime, Target::openvino, Target::zeropoint})
    if (name(target) == text) return target;
  return std::nullopt;
}

Recipe& Recipe::keep_float(std::string scope) {
  rules.push_back({.scope = std::move(scope)});
  checked = false;
  return *this;
}

bool Recipe::has_step(std::string_view step) const {
  return std::any_of(steps.begin(), steps.end(), [&](const Step& each) { return each.name == step; });
}

bool Recipe::needs_samples() const {
  return steps_need_samples() ||
         std::any_of(rules.begin(), rules.end(), [](const Rule& rule) { return rule.activation && !rule.activation->dynamic; });
}

bool Recipe::steps_need_samples() const {
  return std::any_of(steps.begin(), steps.end(), [](const Step& step) {
    const quant::StepRule* rule = quant::find_step(step.name);
    return rule && rule->needs_samples;
  });
}

Recipe& Recipe::add_step(Step step) {
  Json json = {{"name", step.name}};
  for (const auto& [key, value] : step.parameters) json["parameters"][key] = value;
  const std::string source = "step";
  read_step(Reader(json, "", source));
  steps.push_back(std::move(step));
  checked = false;
  return *this;
}

bool Recipe::converts_floats() const {
  return std::any_of(rules.begin(), rules.end(), [](const Rule& rule) { return rule.float_type != DType::f32; });
}

bool Recipe::has_data_free_rules() const {
  return std::any_of(rules.begin(), rules.end(),
                     [](const Rule& rule) { return rule.activation ? rule.activation->dynamic : rule.weight.has_value(); });
}

Recipe& Recipe::set_range(std::string_view method, double parameter) {
  if (!is_range_method(method))
    throw Error(ErrorCode::kBadRecipe, "",
                fmt::format("no range method is called '{}'; known are {}", method, fmt::join(range_methods(), ", ")));
  if (parameter != 0 && (method != "percentile" || !(parameter > 50 && parameter <= 100)))
    throw Error(ErrorCode::kBadRecipe, "",
                fmt::format("{} is no parameter of '{}'; percentile has one, above 50 and at most 100", parameter, method));
  for (Rule& rule : rules)
    if (rule.activation && !rule.activation->dynamic) {
      rule.activation->range = method;
      rule.activation->parameter = parameter;
    }
  checked = false;
  return *this;
}

std::string to_json(const Recipe& recipe) {
  Json json;
  json["name"] = recipe.name;
  json["target"] = name(recipe.target);
  if (recipe.all_integers) json["all_integers"] = true;
  if (recipe.checked) json["checked"] = true;
  json["rules"] = Json::array();
  for (const Rule& rule : recipe.rules) {
    Json& written = json["rules"].emplace_back();
    written["scope"] = rule.scope;
    written["op_type"] = rule.op_type;
    if (rule.activation) written["activation"] = write_scheme(*rule.activation);
    if (rule.weight) written["weight"] = write_scheme(*rule.weight);
    if (rule.float_type != DType::f32) written["float"] = name(rule.float_type);
  }
  json["steps"] = Json::array();
  for (const Step& step : recipe.steps) {
    Json& written = json["steps"].emplace_back();
    written["name"] = step.name;
    for (const auto& [key, value] : step.parameters) written["parameters"][key] = value;
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Recipe parse_recipe(std::string_view text, const std::string& source) {
  Json json;
  try {
    json = Json::parse(text, [&](int depth, Json::parse_event_t, Json&) {
      if (depth > kDeepest) throw Error(ErrorCode::kBadRecipe, "", source + ": nested deeper than any recipe");
      return true;
    });
  } catch (const Json::exception& error) {
    const std::string_view what = error.what();  // "[json.exception.parse_error.101] parse error at line 3, column 5: ..."
    const std::size_t start = what.find("] ");
    throw Error(ErrorCode::kBadRecipe, "",
                fmt::format("{}: not JSON: {}", source, start == what.npos ? what : what.substr(start + 2)));
  }
  const Reader reader(json, "", source);
  reader.check_object({"name", "target", "all_integers", "checked", "rules", "steps"});
  Recipe recipe;
  if (reader.has("name")) recipe.name = reader.at("name").text();
  if (reader.has("target")) recipe.target = *parse_target(reader.at("target").one_of(target_names()));
  if (reader.has("all_integers")) recipe.all_integers = reader.at("all_integers").boolean();
  if (reader.has("checked")) recipe.checked = reader.at("checked").boolean();
  if (!reader.has("rules")) reader.fail("a recipe needs rules");
  for (const Reader& rule : reader.at("rules").items()) recipe.rules.push_back(read_rule(rule));
  const auto has_schemes = [](const Rule& rule) { return rule.activation || rule.weight; };
  if (recipe.converts_floats() && std::any_of(recipe.rules.begin(), recipe.rules.end(), has_schemes))
    reader.at("rules").fail("a recipe computes either in another float type or in integers");
  if (reader.has("steps"))
    for (const Reader& step : reader.at("steps").items()) recipe.steps.push_back(read_step(step));
  return recipe;
}

namespace recipes {

Recipe static_w8a8() { return named("static_w8a8"); }
Recipe dynamic_w8a8() { return named("dynamic_w8a8"); }

Recipe named(std::string_view name) {
  for (const quant::BuiltinRecipe& recipe : quant::builtin_recipes())
    if (recipe.name == name) return parse_recipe(recipe.json, std::string(name));
  throw Error(ErrorCode::kBadRecipe, "",
              fmt::format("no recipe is called '{}'; built in are {}", name, fmt::join(names(), ", ")));
}

std::vector<std::string> names() {
  std::vector<std::string> result;
  for (const quant::BuiltinRecipe& recipe : quant::builtin_recipes()) result.emplace_back(recipe.name);
  return result;
}

}  // namespace recipes
}  // namespace zeropoint
