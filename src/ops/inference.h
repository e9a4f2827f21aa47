// What shape inference and evaluation share.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ops/operator.h"

namespace zeropoint::ops {

inline constexpr std::int64_t kNewestOpset = 21;  // assumed where a graph imports none

std::int64_t node_opset(const std::map<std::string, std::int64_t>& opsets, const Node& node);
// The subgraph in an attribute; throws kBadAttribute when there is none.
const std::shared_ptr<const Graph>& subgraph(const Node& node, const std::string& attribute);
// Types of a subgraph's outputs, with `outer` giving the types of outer values.
std::vector<TensorType> body_types(const Graph& body, std::span<const TensorType> inputs, const Scope& outer);
// Throws kBadModel when the node has too few or too many inputs or leaves out a required one.
void check_inputs(const Node& node, const Operator& entry);
// The operator's reference, which does not run where all outputs are without elements: their other axes may be of any length.
std::vector<Tensor> compute(const Operator& entry, const ComputeArgs& args);
std::string describe_version(const Node& node, const Operator* entry, std::int64_t opset);

// The integers of a value as far as a node makes them known from those of its inputs; nullopt when it does not.
// `inputs[i]` is null where nothing is known.
std::optional<IntValues> propagate_integers(const ShapeArgs& args);

}  // namespace zeropoint::ops
