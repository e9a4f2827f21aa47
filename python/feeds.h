// {input name: array} <-> Feeds.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/samples.h"

namespace zeropoint::python {

// Tensors that point at the arrays (to_tensor). With `inputs`, an element type that differs from the input's is a TypeError;
// names are the engine's to check. `where` starts the messages ("sample 3, ").
Feeds to_feeds(nanobind::handle mapping, const std::vector<ValueInfo>* inputs, const std::string& where = {});
nanobind::dict to_arrays(const Feeds& feeds);

}  // namespace zeropoint::python
