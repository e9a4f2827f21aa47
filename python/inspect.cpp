// Inspection: what a model is and what quantization would make of it, without running it.
#include "zeropoint/inspect.h"

#include <fmt/format.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <optional>
#include <string>

#include "binding.h"

namespace zeropoint::python {
namespace {

Inspection inspect_in_python(nb::handle source, const std::optional<std::map<std::string, Dims>>& shapes,
                             nb::handle recipe_source, const std::optional<std::string>& target, bool engine,
                             const std::optional<std::string>& max_isa) {
  InspectOptions options{.engine = engine, .max_isa = isa_from(max_isa)};
  if (shapes) options.shapes = *shapes;
  if (!recipe_source.is_none() || target) options.recipe = recipe_from(recipe_source, target);
  const Model model = model_from(source);
  nb::gil_scoped_release release;
  return inspect(*model.graph, options);
}

}  // namespace

void bind_inspect(nb::module_& m) {
  nb::class_<Inspection>(m, "Inspection", "What a model is. print() shows all of it.")
      .def_ro("parameters", &Inspection::parameters, "Elements of all constants.")
      .def_ro("quantizable_parameters", &Inspection::quantizable_parameters, "Of them, weights that can become integers.")
      .def_ro("parameter_bytes", &Inspection::parameter_bytes)
      .def_ro("macs", &Inspection::macs, "Multiply-accumulates of one run, where shapes are known; open dimensions count as 1.")
      .def_ro("quantized", &Inspection::quantized, "Whether it holds quantized operators.")
      .def_prop_ro(
          "sizes",
          [](const Inspection& self) {
            nb::dict sizes;
            for (const SizeAt& size : self.sizes) sizes[size.format.c_str()] = size.bytes;
            return sizes;
          },
          nb::sig("def sizes(self) -> dict[str, int]"),
          "Bytes of all constants with the weights at each width and group: 'fp32', 'fp16', 'int8' (a scale of 4 bytes for\n"
          "each channel), 'int4 g128' (for each 128 weights of a channel) and so on.")
      .def("to_json", [](const Inspection& self) { return to_json(self); })
      .def(
          "to_dict", [](const Inspection& self) { return nb::module_::import_("json").attr("loads")(to_json(self)); },
          nb::sig("def to_dict(self) -> dict[str, typing.Any]"))
      .def("__str__", [](const Inspection& self) { return to_text(self); })
      .def("__repr__", [](const Inspection& self) {
        return fmt::format("<zeropoint.Inspection: {} nodes, {} parameters>", self.nodes, self.parameters);
      });
  m.def("inspect", &inspect_in_python, nb::arg("model"), nb::kw_only(), nb::arg("shapes") = nb::none(),
        nb::arg("recipe") = nb::none(), nb::arg("target") = nb::none(), nb::arg("engine") = false,
        nb::arg("max_isa") = nb::none(),
        nb::sig("def inspect(model: Model | str | os.PathLike[str] | bytes, *, "
                "shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]] | None = None, "
                "recipe: Recipe | str | None = None, target: str | None = None, engine: bool = False, "
                "max_isa: str | None = None) -> Inspection"),
        "What a model is: operators, work, and the size at each width; its weights are not read.\n\n"
        "shapes: fixes open dimensions of inputs. recipe, target: plan this quantization, too. engine: compile it, to tell\n"
        "how the engine runs each node.");
}

}  // namespace zeropoint::python
