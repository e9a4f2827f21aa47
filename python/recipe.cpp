// Recipes: what to quantize and how, as immutable values.
#include "zeropoint/recipe.h"

#include <fmt/format.h>
#include <nanobind/operators.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "binding.h"
#include "schemes.h"

namespace zeropoint::python {
namespace {

std::string quoted(const std::string& text) { return nb::cast<std::string>(nb::repr(nb::str(text.c_str()))); }

Scheme scheme_of(DType dtype, const std::optional<Granularity>& granularity, bool symmetric, std::string range,
                 double parameter, std::optional<int> width, const std::string& scale) {
  if (scale != "real" && scale != "power_of_two")
    throw Error(ErrorCode::kBadArgument, "scale", "'" + scale + "' is not known; known are real, power_of_two");
  if (width && (*width < 2 || *width > bits(dtype)))
    throw Error(ErrorCode::kBadArgument, "bits",
                fmt::format("{} bits don't fit: {} holds 2 ... {}", *width, numpy_name(dtype), bits(dtype)));
  return {.dtype = dtype,
          .granularity = granularity.value_or(PerTensor{}),
          .symmetric = symmetric,
          .range = std::move(range),
          .parameter = parameter,
          .bits = width && *width < bits(dtype) ? *width : 0,
          .power_of_two = scale == "power_of_two"};
}

std::string_view granularity_of_rows(Rows rows) {
  return rows == Rows::none ? "per_tensor" : rows == Rows::all ? "per_row" : "auto";
}

std::string repr_scheme(const Scheme& scheme) {
  if (scheme.dynamic) return fmt::format("dynamic_uint8('{}')", granularity_of_rows(scheme.rows));
  std::string text = numpy_name(scheme.dtype) + "(" + repr(scheme.granularity);
  if (scheme.symmetric != (lowest(scheme.dtype) < 0)) text += scheme.symmetric ? ", symmetric=True" : ", symmetric=False";
  if (scheme.range != "min_max") text += ", range='" + scheme.range + "'";
  if (scheme.parameter != 0) text += fmt::format(", parameter={}", scheme.parameter);
  if (scheme.bits != 0) text += fmt::format(", bits={}", scheme.bits);
  if (scheme.power_of_two) text += ", scale='power_of_two'";
  return text + ")";
}

std::string repr_rule(const Rule& rule) {
  std::string text = fmt::format("Rule(scope={}, op_type={}", quoted(rule.scope), quoted(rule.op_type));
  if (rule.activation) text += ", activation=" + repr_scheme(*rule.activation);
  if (rule.weight) text += ", weight=" + repr_scheme(*rule.weight);
  if (rule.float_type != DType::f32) text += ", float_type='" + numpy_name(rule.float_type) + "'";
  return text + ")";
}

std::string repr_recipe(const Recipe& recipe) {
  std::string rules;
  for (const Rule& rule : recipe.rules) rules += (rules.empty() ? "" : ", ") + repr_rule(rule);
  return fmt::format("Recipe(name={}, target='{}', {}{}rules=[{}])", quoted(recipe.name), name(recipe.target),
                     recipe.all_integers ? "all_integers=True, " : "", recipe.checked ? "checked=True, " : "", rules);
}

// A recipe is what its JSON can say: everything else is an error here, where it was written, and not when it is used.
Recipe checked(Recipe recipe) {
  const Recipe read = parse_recipe(to_json(recipe), "recipe");
  for (std::size_t i = 0; i < recipe.rules.size(); ++i)
    if (recipe.rules[i] != read.rules[i])
      throw Error(
          ErrorCode::kBadRecipe, "/rules/" + std::to_string(i),
          "recipes cannot say " + repr_rule(recipe.rules[i]) +
              "; weights are per tensor, PerChannel(axis=0), which stands for the output channels, or PerGroup(axis=0, size)");
  return recipe;
}

// The scheme that a node named by `scope` and `op_type` has so far, for all that is known without a model.
template <class Part>
std::optional<Scheme> so_far(const Recipe& recipe, const std::string& scope, const std::string& op_type, Part part) {
  for (std::size_t i = recipe.rules.size(); i > 0; --i) {
    const Rule& rule = recipe.rules[i - 1];
    if ((rule.scope == ".*" || rule.scope == scope) && (rule.op_type == "*" || rule.op_type == op_type) && rule.*part)
      return rule.*part;
  }
  return std::nullopt;
}

Recipe override_rule(const Recipe& self, const std::string& scope, const std::string& op_type,
                     const std::optional<Scheme>& activation, const std::optional<Scheme>& weight) {
  if (!activation && !weight)
    throw Error(ErrorCode::kBadArgument, "override", "give activation or weight; keep_float() leaves operators in float");
  Recipe recipe = self;
  recipe.rules.push_back({.scope = scope,
                          .op_type = op_type,
                          .activation = activation ? activation : so_far(self, scope, op_type, &Rule::activation),
                          .weight = weight ? weight : so_far(self, scope, op_type, &Rule::weight)});
  recipe.checked = false;
  return checked(std::move(recipe));
}

Recipe with_step(const Recipe& self, const std::string& name, const nb::kwargs& parameters) {
  Recipe recipe = self;
  Step& step = recipe.steps.emplace_back(Step{.name = name});
  for (const auto& [key, value] : parameters) step.parameters.emplace_back(nb::cast<std::string>(key), nb::cast<double>(value));
  recipe.checked = false;
  return checked(std::move(recipe));
}

Recipe with_target(const Recipe& self, const std::string& target) {
  Recipe recipe = self;
  const auto parsed = parse_target(target);
  if (!parsed) {
    std::string known;
    for (const std::string& each : target_names()) known += (known.empty() ? "" : ", ") + each;
    throw Error(ErrorCode::kBadArgument, "target", "'" + target + "' is not known; known are " + known);
  }
  recipe.checked = recipe.checked && recipe.target == *parsed;
  recipe.target = *parsed;
  return recipe;
}

nb::list steps(const Recipe& recipe) {
  nb::list result;
  for (const Step& step : recipe.steps) {
    nb::dict parameters;
    for (const auto& [key, value] : step.parameters) parameters[key.c_str()] = value;
    result.append(nb::make_tuple(step.name, parameters));
  }
  return result;
}

void bind_granularities(nb::module_& m) {
  nb::class_<PerTensor>(m, "PerTensor", "One scale for the whole tensor.")
      .def(nb::init<>())
      .def("__repr__", [](const PerTensor& self) { return repr(Granularity(self)); })
      .def("__hash__", [](const PerTensor&) { return 0; })
      .def(
          "__reduce__", [](nb::handle self) { return nb::make_tuple(self.type(), nb::make_tuple()); },
          nb::sig("def __reduce__(self) -> tuple[typing.Any, ...]"))
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"));
  nb::class_<PerChannel>(m, "PerChannel", "A scale for each index along an axis: x of [O, I, kh, kw], axis 0 has scales [O].")
      .def(
          "__init__", [](PerChannel* self, int axis) { new (self) PerChannel{axis}; }, nb::arg("axis") = 0)
      .def_ro("axis", &PerChannel::axis)
      .def("__repr__", [](const PerChannel& self) { return repr(Granularity(self)); })
      .def("__hash__", [](const PerChannel& self) { return 1 + self.axis; })
      .def(
          "__reduce__", [](nb::handle self) { return nb::make_tuple(self.type(), nb::make_tuple(self.attr("axis"))); },
          nb::sig("def __reduce__(self) -> tuple[typing.Any, ...]"))
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"));
  nb::class_<PerGroup>(m, "PerGroup",
                       "A scale for each ``size`` elements along an axis: x of [K, N], axis 0, size 32 has scales [K/32, N].")
      .def(
          "__init__", [](PerGroup* self, int axis, std::int64_t size) { new (self) PerGroup{axis, size}; }, nb::arg("axis") = 0,
          nb::arg("size") = 32)
      .def_ro("axis", &PerGroup::axis)
      .def_ro("size", &PerGroup::size)
      .def("__repr__", [](const PerGroup& self) { return repr(Granularity(self)); })
      .def("__hash__", [](const PerGroup& self) { return self.size * 31 + self.axis; })
      .def(
          "__reduce__",
          [](nb::handle self) { return nb::make_tuple(self.type(), nb::make_tuple(self.attr("axis"), self.attr("size"))); },
          nb::sig("def __reduce__(self) -> tuple[typing.Any, ...]"))
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"));
}

}  // namespace

Granularity granularity_from(std::optional<int> axis, std::optional<std::int64_t> group) {
  if (!axis && group) throw Error(ErrorCode::kBadArgument, "group", "needs an axis to group along");
  if (!axis) return PerTensor{};
  if (!group) return PerChannel{*axis};
  return PerGroup{*axis, *group};
}

nb::object to_python(const Granularity& granularity) {
  return std::visit([](const auto& each) { return nb::cast(each); }, granularity);
}

std::string repr(const Granularity& granularity) {
  if (const auto* channel = std::get_if<PerChannel>(&granularity)) return fmt::format("PerChannel(axis={})", channel->axis);
  if (const auto* group = std::get_if<PerGroup>(&granularity))
    return fmt::format("PerGroup(axis={}, size={})", group->axis, group->size);
  return "PerTensor()";
}

void bind_recipe(nb::module_& m) {
  bind_granularities(m);

  nb::class_<Scheme>(m, "Scheme", "How a tensor becomes integers; ``int8`` and ``uint8`` make it.")
      .def_prop_ro("dtype", [](const Scheme& self) { return numpy_name(self.dtype); })
      .def_prop_ro(
          "granularity", [](const Scheme& self) { return to_python(self.granularity); },
          nb::sig("def granularity(self) -> PerTensor | PerChannel | PerGroup"))
      .def_prop_ro(
          "symmetric", [](const Scheme& self) { return self.symmetric; }, "Zero point 0, and no lowest value: -127 ... 127.")
      .def_prop_ro(
          "range", [](const Scheme& self) { return self.range; }, "The method that chooses the range.")
      .def_prop_ro(
          "parameter", [](const Scheme& self) { return self.parameter; }, "Of the method; 0 stands for its default.")
      .def_prop_ro(
          "bits", [](const Scheme& self) { return self.bits == 0 ? bits(self.dtype) : self.bits; },
          "Whose levels are used: those of the type, or fewer.")
      .def_prop_ro(
          "scale", [](const Scheme& self) { return self.power_of_two ? "power_of_two" : "real"; },
          "'real', or 'power_of_two': the least that covers the range.")
      .def_prop_ro(
          "dynamic", [](const Scheme& self) { return self.dynamic; }, "The range is that of the values at run time.")
      .def("__repr__", &repr_scheme)
      .def("__hash__", [](const Scheme& self) { return nb::hash(nb::str(repr_scheme(self).c_str())); })
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"));
  const auto scheme = [&](const char* name, DType dtype, bool symmetric, const char* doc) {
    const std::string signature =
        std::string("def ") + name + "(granularity: PerTensor | PerChannel | PerGroup | None = None, *, symmetric: bool = " +
        (symmetric ? "True" : "False") +
        ", range: str = 'min_max', parameter: float = 0.0, bits: int | None = None, scale: str = 'real') -> Scheme";
    m.def(
        name,
        [dtype](const std::optional<Granularity>& granularity, bool is_symmetric, std::string range, double parameter,
                std::optional<int> width, const std::string& scale) {
          return scheme_of(dtype, granularity, is_symmetric, std::move(range), parameter, width, scale);
        },
        nb::arg("granularity") = nb::none(), nb::kw_only(), nb::arg("symmetric") = symmetric, nb::arg("range") = "min_max",
        nb::arg("parameter") = 0.0, nb::arg("bits") = nb::none(), nb::arg("scale") = "real", nb::sig(signature.c_str()), doc);
  };
  scheme("int8", DType::s8, true,
         "Signed bytes, symmetric unless asked for otherwise. range: 'min_max', 'mse', and for activations 'averaged_min_max', "
         "'percentile' (``parameter`` percent are kept) or 'kl_divergence'. bits: levels of fewer bits, of which a byte holds "
         "all. scale: 'power_of_two' takes the least power of two that covers the range.");
  scheme("uint8", DType::u8, false, "Unsigned bytes, asymmetric. The other arguments are those of int8.");
  scheme("int4", DType::s4, true, "4-bit integers -7 ... 7 (-8 too where not symmetric); needs opset 21.");
  scheme("uint4", DType::u4, false, "4-bit integers 0 ... 15 with zero points; needs opset 21.");
  scheme("int2", DType::s2, true, "2-bit integers -1 ... 1 (-2 too where not symmetric), for weights; needs opset 25.");
  scheme("uint2", DType::u2, false, "2-bit integers 0 ... 3 with zero points, for weights; needs opset 25.");
  scheme("int16", DType::s16, true, "16-bit integers, symmetric unless asked for otherwise; needs opset 21.");
  scheme("uint16", DType::u16, false, "16-bit integers with zero points; needs opset 21.");
  m.def(
      "dynamic_uint8",
      [](const std::string& granularity) {
        for (const Rows rows : {Rows::none, Rows::gated, Rows::all})
          if (granularity == granularity_of_rows(rows)) return Scheme{.dynamic = true, .rows = rows};
        throw Error(ErrorCode::kBadArgument, "granularity",
                    "'" + granularity + "' is not known; known are per_tensor, auto, per_row");
      },
      nb::arg("granularity") = "auto",
      "Activations in unsigned bytes over the range that they have at run time. granularity: one scale for the 'per_tensor', "
      "one 'per_row', or 'auto': rows only for products of two activations, such as GELU's.");

  nb::class_<Rule>(m, "Rule",
                   "Operators of a type whose name matches a regular expression, and their schemes; none: they stay in float.")
      .def_prop_ro("scope", [](const Rule& self) { return self.scope; })
      .def_prop_ro("op_type", [](const Rule& self) { return self.op_type; })
      .def_prop_ro("activation", [](const Rule& self) { return self.activation; })
      .def_prop_ro("weight", [](const Rule& self) { return self.weight; })
      .def_prop_ro(
          "float_type", [](const Rule& self) { return numpy_name(self.float_type); },
          "In which they compute without schemes: 'float32', 'float16' or 'bfloat16'.")
      .def("__repr__", &repr_rule)
      .def("__hash__", [](const Rule& self) { return nb::hash(nb::str(repr_rule(self).c_str())); })
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"));

  nb::class_<Recipe>(m, "Recipe",
                     "What to quantize, and how: ordered rules, of which the last that matches an operator holds for it.\n\n"
                     "Immutable: methods return a changed copy. zeropoint.recipes has the ones to start from.")
      .def_prop_ro("name", [](const Recipe& self) { return self.name; })
      .def_prop_ro(
          "target", [](const Recipe& self) { return std::string(name(self.target)); },
          "The runtime whose fusions the placement of quantizers serves.")
      .def_prop_ro(
          "all_integers", [](const Recipe& self) { return self.all_integers; },
          "For the target zeropoint: whether operators are quantized, too, that integers make slower.")
      .def_prop_ro(
          "checked", [](const Recipe& self) { return self.checked; },
          "Whether a self check made it by repairs: quantize() judges its model again, but changes nothing. Changed copies "
          "lose "
          "the mark.")
      .def_prop_ro("rules", [](const Recipe& self) { return self.rules; })
      .def_prop_ro("steps", &steps, nb::sig("def steps(self) -> list[tuple[str, dict[str, float]]]"),
                   "Algorithms run on the whole model, in order: (name, parameters).")
      .def("override", &override_rule, nb::arg("scope") = ".*", nb::arg("op_type") = "*", nb::kw_only(),
           nb::arg("activation") = nb::none(), nb::arg("weight") = nb::none(),
           "Other schemes for operators of type ``op_type`` whose whole name matches the regular expression ``scope``. A "
           "scheme that "
           "is not given stays what the recipe's general rules, or earlier ones of the same scope, say.")
      .def(
          "keep_float",
          [](const Recipe& self, const std::string& scope, const std::string& op_type) {
            Recipe recipe = self;
            recipe.rules.push_back({.scope = scope, .op_type = op_type});
            recipe.checked = false;
            return checked(std::move(recipe));
          },
          nb::arg("scope") = ".*", nb::arg("op_type") = "*", "Leaves these operators in float.")
      .def(
          "with_range",
          [](const Recipe& self, const std::string& method, double parameter) {
            Recipe recipe = self;
            recipe.set_range(method, parameter);
            return checked(std::move(recipe));
          },
          nb::arg("method"), nb::kw_only(), nb::arg("parameter") = 0.0, "Chooses the ranges of all activations by this method.")
      .def("with_step", &with_step, nb::arg("name"), nb::arg("parameters"),
           nb::sig("def with_step(self, name: str, **parameters: float) -> Recipe"),
           "Adds an algorithm that runs on the whole model, such as 'bias_correction'; docs/recipes.md has the names and their "
           "parameters, which steps run before others, and which need samples.")
      .def(
          "with_target", &with_target, nb::arg("target"),
          "Serves the fusions of this runtime: onnxruntime, openvino or zeropoint. For zeropoint, operators stay in float that "
          "integers make slower by the engine's table of costs; see with_all_integers().")
      .def(
          "with_all_integers",
          [](const Recipe& self, bool enabled) {
            Recipe recipe = self;
            recipe.checked = recipe.checked && recipe.all_integers == enabled;
            recipe.all_integers = enabled;
            return recipe;
          },
          nb::arg("enabled") = true, "For the target zeropoint: quantizes what integers make slower, too.")
      .def(
          "to_json", [](const Recipe& self) { return to_json(self); }, "JSON text, equal for equal recipes.")
      .def_static(
          "from_json", [](const std::string& text) { return parse_recipe(text); }, nb::arg("text"),
          "Reads a recipe. Raises Error whose ``where`` is the JSON pointer of what is wrong.")
      .def("__repr__", &repr_recipe)
      .def("__hash__", [](const Recipe& self) { return nb::hash(nb::str(to_json(self).c_str())); })
      .def("__getstate__", [](const Recipe& self) { return to_json(self); })
      .def("__setstate__", [](Recipe& self, const std::string& text) { new (&self) Recipe(parse_recipe(text)); })
      .def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"));

  m.def("recipe_names", &recipes::names);
  m.def("named_recipe", [](const std::string& recipe) { return recipes::named(recipe); }, nb::arg("name"));
}

}  // namespace zeropoint::python
