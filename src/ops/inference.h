// What shape inference and evaluation share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ops/operator.h"

namespace zeropoint::ops {

inline constexpr std::int64_t kNewestOpset = 21;  // assumed where a graph imports none

std::int64_t node_opset(const Graph& graph, const Node& node);
// Throws kBadModel when the node has too few or too many inputs or leaves out a required one.
void check_inputs(const Node& node, const Operator& entry);
std::string describe_version(const Node& node, const Operator* entry, std::int64_t opset);

// The integers of a value as far as a node makes them known from those of its inputs; nullopt when it does not.
// `inputs[i]` is null where nothing is known.
std::optional<IntValues> propagate_integers(const ShapeArgs& args);

}  // namespace zeropoint::ops
