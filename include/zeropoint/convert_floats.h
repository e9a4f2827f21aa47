// A graph of f32 -> the same graph in 16-bit floats, inside: inputs and outputs keep their type.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"
#include "zeropoint/statistics.h"

namespace zeropoint {

struct KeptNode {
  std::string node, op_type, reason;  // by name, or by its first output
};
struct ConvertedFloats {
  Graph graph;
  std::size_t converted = 0;   // nodes that compute in 16 bits now
  std::size_t stored = 0;      // constants of other nodes, stored in 16 bits behind a Cast to f32
  std::vector<KeptNode> kept;  // nodes on f32 values that compute in f32, in order
};

// Nodes whose rule says f16 or bf16 compute in that type, with their constants; Casts stand where values of both types meet.
// A node stays in f32 where a rule says so, where its operator has no form in that type, where the recipe's target has no
// kernels for it (its constants are then stored in 16 bits), and, f16 holding magnitudes of 2^-24 ... 65504, where
//   - one of its finite constants is larger than 65504, or the largest of one is so small that fewer than 8 of its bits stay;
//   - a value that it reads or makes left that range on the samples of `statistics` (calibrate of this graph; may be null).
// bf16 has the range of f32. Throws Error kUnsupported when nothing is converted, kBadRecipe when rules name both types.
ConvertedFloats convert_floats(const Graph& graph, const Recipe& recipe, const Statistics* statistics = nullptr);

}  // namespace zeropoint
