// Quantization that needs no samples: activations by their range at run time, and weights alone. docs/dynamic.md.
#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "quant/placement.h"

namespace zeropoint::quant {

struct WithoutData {
  Graph graph;
  std::set<std::string> integer_names;     // of nodes whose products became integer ones (nameless: by first output)
  std::set<std::string> weight_names;      // of nodes whose weights alone became integers
  std::vector<LeftInFloat> left_in_float;  // other nodes on f32 values, in the graph's order
  std::vector<std::string> notes;          // warnings first
};

// Rewrites the nodes whose rule has a dynamic activation or weights alone; the others stay as they are. The graph may hold
// static quantizers already. Throws Error: kUnsupported when a node is of that kind already, kNonFinite naming initializer and
// node.
// Integers beyond 256 MB lie in a temporary file in `folder` (empty: the system's).
WithoutData quantize_without_data(Graph graph, const Recipe& recipe, int threads = 1, const std::filesystem::path& folder = {});

// The same but for the graph, which stays empty: nothing is computed.
WithoutData forecast_without_data(const Graph& graph, const Recipe& recipe);

// The recipe with only its rules of static quantization; other nodes are told to stay in float.
Recipe static_part(const Recipe& recipe);

}  // namespace zeropoint::quant
