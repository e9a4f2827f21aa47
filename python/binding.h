// The module zeropoint._core: one file a topic, each adding its classes and functions to the module.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>  // in every file, or nb::cast<std::string> differs between them

#include <memory>
#include <optional>
#include <string>

#include "zeropoint/cpu.h"
#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"

namespace zeropoint::python {

namespace nb = nanobind;

void bind_errors(nb::module_& m);
void bind_model(nb::module_& m);
void bind_session(nb::module_& m);
void bind_recipe(nb::module_& m);
void bind_tensors(nb::module_& m);
void bind_samples(nb::module_& m);
void bind_statistics(nb::module_& m);
void bind_quantize(nb::module_& m);
void bind_budget(nb::module_& m);
void bind_inspect(nb::module_& m);
void bind_workers(nb::module_& m);

// A graph as Python sees it: immutable, so copies and threads may share it.
struct Model {
  std::shared_ptr<const Graph> graph;
};
inline Model to_model(Graph graph) { return {std::make_shared<const Graph>(std::move(graph))}; }

// A Model as it is; a path or bytes are loaded.
Model model_from(nb::handle source);
std::filesystem::path to_path(nb::handle path);                           // str or os.PathLike; TypeError for anything else
// static_w8a8 for None, a built-in one by name, a Recipe as it is; with another target where one is given.
Recipe recipe_from(nb::handle source, const std::optional<std::string>& target);
std::optional<Isa> isa_from(const std::optional<std::string>& isa_name);  // Error kBadArgument listing this machine's

}  // namespace zeropoint::python
