// Model: a graph with its weights, and what reads, writes and rewrites it.
#include <fmt/format.h>
#include <nanobind/operators.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "arrays.h"
#include "binding.h"
#include "zeropoint/passes.h"

namespace zeropoint::python {
namespace {

// What a dimension is in Python: a number, the name of an open one, or None.
nb::object to_python(const Dim& dim) {
  if (dim.fixed()) return nb::int_(dim.value);
  return dim.symbol.empty() ? nb::none() : nb::object(nb::str(dim.symbol.c_str()));
}

nb::object shape_of(const ValueInfo& info) {
  if (!info.type.shape) return nb::none();
  nb::list dims;
  for (const Dim& dim : *info.type.shape) dims.append(to_python(dim));
  return dims;
}

std::string repr(const nb::object& object) { return nb::cast<std::string>(nb::repr(object)); }
std::string quoted(const std::string& text) { return repr(nb::str(text.c_str())); }

std::string repr_value(const ValueInfo& info) {
  return fmt::format("ValueInfo(name={}, dtype='{}', shape={})", quoted(info.name), numpy_name(info.type.dtype),
                     repr(shape_of(info)));
}

std::string repr_node(const Node& node) {
  return fmt::format("Node(name={}, op_type={})", quoted(node.name), quoted(node.op_type));
}

std::string repr_model(const Model& model) {
  std::size_t bytes = 0;
  for (const auto& [name, tensor] : model.graph->initializers) bytes += tensor.bytes().size();
  return fmt::format("<zeropoint.Model {}: {} nodes, opset {}, {:.2f} MB of constants>", quoted(model.graph->name),
                     model.graph->nodes.size(), model.graph->opset(), static_cast<double>(bytes) / 1e6);
}

nb::bytes to_bytes(const Model& model) {
  std::string bytes;
  {
    nb::gil_scoped_release release;
    bytes = serialize(*model.graph);
  }
  return nb::bytes(bytes.data(), bytes.size());
}

Model from_bytes(const nb::bytes& bytes) {
  const std::span data(static_cast<const std::byte*>(bytes.data()), bytes.size());
  nb::gil_scoped_release release;
  return to_model(parse(data));
}

}  // namespace

std::filesystem::path to_path(nb::handle path) {
  return nb::cast<std::string>(nb::module_::import_("os").attr("fsdecode")(path));
}

Model model_from(nb::handle source) {
  if (nb::isinstance<Model>(source)) return nb::cast<Model>(source);
  if (nb::isinstance<nb::bytes>(source)) return from_bytes(nb::borrow<nb::bytes>(source));
  if (!nb::isinstance<nb::str>(source) && !nb::hasattr(source, "__fspath__"))
    throw nb::type_error(("a model is a path, bytes or a zeropoint.Model, not " + repr(nb::borrow(source.type()))).c_str());
  const std::filesystem::path path = to_path(source);
  nb::gil_scoped_release release;
  return to_model(load(path));
}

void bind_model(nb::module_& m) {
  nb::class_<ValueInfo>(m, "ValueInfo", "Name, element type and shape of a model's input or output.")
      .def_prop_ro("name", [](const ValueInfo& info) { return info.name; })
      .def_prop_ro(
          "dtype", [](const ValueInfo& info) { return numpy_name(info.type.dtype); }, "NumPy's name of the element type.")
      .def_prop_ro("shape", &shape_of, nb::sig("def shape(self) -> list[int | str | None] | None"),
                   "Dimensions: numbers, names of open ones, None for open ones without a name. None when the rank is unknown.")
      .def("__repr__", &repr_value)
      .def(
          "__eq__", [](const ValueInfo& a, const ValueInfo& b) { return a.name == b.name && a.type == b.type; },
          nb::is_operator(), nb::sig("def __eq__(self, other: object, /) -> bool"))
      .attr("__hash__") = nb::none();

  nb::class_<Node>(m, "Node", "An operator of a model.")
      .def_prop_ro("name", [](const Node& node) { return node.name; })
      .def_prop_ro("op_type", [](const Node& node) { return node.op_type; })
      .def_prop_ro("domain", [](const Node& node) { return node.domain; })
      .def_prop_ro(
          "inputs", [](const Node& node) { return node.inputs; }, "Names of values; '' for an optional one left out.")
      .def_prop_ro("outputs", [](const Node& node) { return node.outputs; })
      .def("__repr__", &repr_node);

  nb::class_<Model> bound(m, "Model", "A network: an ONNX graph with its weights. Immutable; ``load`` makes it.");
  bound
      .def(
          "save",
          [](const Model& self, nb::handle path) {
            const std::filesystem::path to = to_path(path);
            nb::gil_scoped_release release;
            save(*self.graph, to);
          },
          nb::arg("path"), nb::sig("def save(self, path: str | os.PathLike[str]) -> None"),
          "Writes an ONNX file, through a temporary file and a rename.")
      .def("to_bytes", &to_bytes, "The ONNX file's bytes.")
      .def_prop_ro("name", [](const Model& self) { return self.graph->name; })
      .def_prop_ro("inputs", [](const Model& self) { return self.graph->inputs; })
      .def_prop_ro("outputs", [](const Model& self) { return self.graph->outputs; })
      .def_prop_ro(
          "nodes", [](const Model& self) { return self.graph->nodes; }, "The operators, in an order in which they can run.")
      .def_prop_ro(
          "opset", [](const Model& self) { return self.graph->opset(); }, "Version of ONNX's operators.")
      .def_prop_ro(
          "metadata", [](const Model& self) { return self.graph->metadata; }, "The file's metadata, a copy.")
      .def_prop_ro(
          "constants",
          [](const Model& self) {
            std::vector<std::string> names;
            for (const auto& [name, tensor] : self.graph->initializers) names.push_back(name);
            return names;
          },
          "Names of the constants (weights), sorted.")
      .def(
          "constant",
          [](const Model& self, const std::string& name) {
            const Tensor* tensor = self.graph->constant(name);
            if (tensor == nullptr) throw nb::key_error(("no constant is called '" + name + "'").c_str());
            return to_view(*tensor);
          },
          nb::arg("name"), nb::sig("def constant(self, name: str) -> numpy.ndarray"),
          "A constant's values: a view that cannot be written to. KeyError when there is none of that name.")
      .def_prop_ro(
          "hash",
          [](const Model& self) {
            nb::gil_scoped_release release;
            return graph_hash(*self.graph);
          },
          "32 hexadecimal digits over what the model computes, without names of nodes, documentation and metadata.")
      .def(
          "text",
          [](const Model& self, std::optional<std::int64_t> max_elements) {
            nb::gil_scoped_release release;
            return to_text(*self.graph, max_elements.value_or(-1));
          },
          nb::kw_only(), nb::arg("max_elements") = 64, nb::sig("def text(self, *, max_elements: int | None = 64) -> str"),
          "A line an operator. Constants of more than ``max_elements`` are shown by size and hash; None shows all of "
          "everything, and "
          "``from_text`` reads that back.")
      .def_static(
          "from_text",
          [](const std::string& text) {
            nb::gil_scoped_release release;
            Graph graph = parse_graph(text);
            verify(graph);
            return to_model(std::move(graph));
          },
          nb::arg("text"), "The model that ``text`` describes, verified: small models can be written by hand.")
      .def("__str__", [](const Model& self) { return to_text(*self.graph); })
      .def("__repr__", &repr_model)
      .def(
          "__eq__",
          [](const Model& a, const Model& b) {
            nb::gil_scoped_release release;
            return a.graph == b.graph || *a.graph == *b.graph;
          },
          nb::is_operator(), nb::sig("def __eq__(self, other: object, /) -> bool"))
      .def("__getstate__", &to_bytes, nb::sig("def __getstate__(self) -> bytes"))
      .def("__setstate__", [](Model& self, const nb::bytes& bytes) { new (&self) Model(from_bytes(bytes)); });
  bound.attr("__hash__") = nb::none();

  m.def("load", &model_from, nb::arg("source"), nb::sig("def load(source: str | os.PathLike[str] | bytes) -> Model"),
        "Reads an ONNX model from a file or from its bytes. Raises Error on anything but a valid model.");
  m.def(
      "fuse",
      [](const Model& model) {
        nb::gil_scoped_release release;
        return to_model(fuse(*model.graph));
      },
      nb::arg("model"),
      "The same function in fewer operators: constants, BatchNorm and padding folded, activations normalized, dead code "
      "removed.");
}

}  // namespace zeropoint::python
