// Placement: which values of a fused graph get a quantizer, which of them share parameters, and why the rest stays in float.
// The rules are those by which ONNX Runtime and OpenVINO fuse every quantized operator: docs/passes/insert_qdq.md.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"

namespace zeropoint::quant {

// Values with one set of parameters.
struct TieGroup {
  std::vector<std::string> values;   // ascending
  std::vector<std::string> sources;  // those that decide the range; the others hold nothing that these don't
  Scheme scheme;
  bool prefers_signed = false;  // where the range has negative values: s8 with zero point 0 in place of u8
  friend bool operator==(const TieGroup&, const TieGroup&) = default;
};

struct QuantizedWeight {
  Scheme scheme;
  int axis = 0;                    // of the output channels
  std::vector<std::size_t> nodes;  // that read it, ascending
};

struct LeftInFloat {
  std::string node;  // name, or its first output's
  std::string op_type;
  std::string reason;
};

struct Placement {
  std::vector<TieGroup> groups;                    // by their first value
  std::map<std::string, QuantizedWeight> weights;  // by initializer
  std::vector<std::size_t> integer_nodes;          // Conv, Gemm and MatMul with quantized inputs and weights, ascending
  std::vector<LeftInFloat> left_in_float;          // nodes on f32 values, in the graph's order
};
// Throws Error kUnsupported when the graph is quantized already, kBadRecipe for a scope that is no regular expression.
Placement place(const Graph& graph, const Recipe& recipe);
std::string to_text(const Placement& placement, const Graph& graph);

// Bias of a quantized node: input 2 of Conv and Gemm; of a MatMul the constant of the Add behind it. "" when there is none.
std::string bias_of(const Graph& graph, const Uses& uses, const Node& node);

}  // namespace zeropoint::quant
