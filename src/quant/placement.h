// Placement: which values of a fused graph get a quantizer, which of them share parameters, and why the rest stays in float.
// The rules are those by which ONNX Runtime and OpenVINO fuse every quantized operator: docs/passes/insert_qdq.md.
#pragma once

#include <cstddef>
#include <cstdint>
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
  std::size_t decided_by = 0;   // the node whose rule gave the scheme
  friend bool operator==(const TieGroup&, const TieGroup&) = default;
};

enum class WeightUse : std::uint8_t {
  sums,    // of integer products: Conv, ConvTranspose, Gemm, MatMul
  stored,  // behind a DequantizeLinear, read in float: LSTM, GRU, RNN
  rows,    // a table whose rows Gather picks
};

struct QuantizedWeight {
  Scheme scheme;
  int axis = 0;                    // of the channels (or rows)
  std::vector<std::size_t> nodes;  // that read it, ascending
  WeightUse use = WeightUse::sums;
};

struct LeftInFloat {
  std::string node;  // name, or its first output's
  std::string op_type;
  std::string reason;
};

// The nodes on real values in the subgraphs of a node, which nothing quantizes.
void add_bodies(const Node& node, std::vector<LeftInFloat>& result);

struct Placement {
  std::vector<TieGroup> groups;                    // by their first value
  std::map<std::string, QuantizedWeight> weights;  // by initializer
  std::vector<std::size_t> integer_nodes;          // Conv, Gemm, ... with quantized inputs and weights, ascending
  std::vector<LeftInFloat> left_in_float;          // nodes on real values, those in bodies of If and Loop too, in order
  std::vector<std::string> slower_in_integers;     // those of them that the table of costs left there, ascending
};
// Throws Error kUnsupported when the graph is quantized already, kBadRecipe for a scope that is no regular expression.
Placement place(const Graph& graph, const Recipe& recipe);
Placement place_typed(const Graph& graph, const Recipe& recipe);  // of a graph with all types inferred, as fuse() leaves it
std::string to_text(const Placement& placement, const Graph& graph);

// Of the weights of a weighted node: the axis along which scales differ. Conv [O,I/g,...]: 0. ConvTranspose [I,O/g,...]: 1,
// where the groups share their scales; 0 where each group has one input and one output. Gemm: 0 with transB, else 1. MatMul:
// the last.
int channel_axis(const Node& node, const Tensor& weight);
// Number of output channels, and which entry along channel_axis() output channel o has.
std::int64_t output_channels(const Node& node, const Tensor& weight);
std::int64_t parameter_of_channel(const Node& node, const Tensor& weight, std::int64_t o);

// The logits of a classifier: of a group of values that hold nothing else, the value whose rows (along its last axis) a final
// Softmax reads or an output [N, classes] shows; group's index -> that value. Only groups whose method asks for rows.
std::map<std::size_t, std::string> logits_of(const Graph& graph, const Placement& placement);

// Bias of a quantized node: input 2 of Conv and Gemm; of a MatMul the constant of the Add behind it. "" when there is none.
std::string bias_of(const Graph& graph, const ValueIndex& values, const Uses& uses, const Node& node);

}  // namespace zeropoint::quant
