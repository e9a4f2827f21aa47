// What quantization asks of each operator: the table behind placement. docs/passes/insert_qdq.md explains it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"

namespace zeropoint::quant {

enum class Role : std::uint8_t {
  none,         // works in float
  weighted,     // exact integer sums: quantized inputs and weights; the quantizer behind it stands behind its Relu or Clip
  recurrent,    // weights are stored as integers, it computes in float
  lookup,       // rows of a constant table, stored as integers
  elementwise,  // both inputs and the output are quantized, each by itself
  pool,         // input and output are quantized, each by itself
  function,     // of one value: a table of 256 entries between quantizers
  shared,       // moves values or picks some: the outputs have the input's parameters
  concat,       // inputs and output share parameters
  activation,   // part of the operator before it; alone, like `pool`
};
std::string_view name(Role role);

struct OperatorRule {
  std::string_view op_type;
  Role role = Role::none;
  // Whose runtimes work on the 8-bit integers when quantizers stand on both sides: bits of targets (see takes()).
  unsigned integer_in = 0;
  std::string_view in_float;  // why it stays in float, where it does
};
// Every operator that the table names, by op_type.
std::span<const OperatorRule> operator_rules();
// The rule for a node as it stands: an operator's rule may depend on attributes and on which inputs are constant (Resize is
// shared where it picks the nearest pixel, Gather a lookup where its data is constant). Never null.
const OperatorRule& rule_of_operator(const Graph& graph, const Node& node);
bool takes(const OperatorRule& rule, Target target);

}  // namespace zeropoint::quant
