// Schemes and granularities of Python.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <string>

#include "zeropoint/recipe.h"

namespace zeropoint::python {

// axis and group as the tensor-level functions take them: neither, one axis, or an axis and the size of groups along it.
Granularity granularity_from(std::optional<int> axis, std::optional<std::int64_t> group);
nanobind::object to_python(const Granularity& granularity);
std::string repr(const Granularity& granularity);

}  // namespace zeropoint::python
