// Functions of a model: their bodies take the place of the nodes that call them.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint::onnx_file {

struct Function {
  std::string domain, name, overload;
  std::map<std::string, Attribute> defaults;  // of attributes that a call may leave out
  Graph body;                                 // verified; inputs and outputs are the formal ones
};

// Expands every call, those in subgraphs and in other functions included; names of inner values and nodes get the caller's name
// in front and are unique. Where opsets differ, the model and the functions are converted to the newest of them. `where` names
// the file. Throws Error: kBadModel for a function that calls itself or is called with too many values, kLimit when the calls
// would become more than 2^20 nodes or 512 MiB, kUnsupported for opsets of other domains that differ.
void inline_functions(Graph& graph, std::vector<Function> functions, const std::string& where);

}  // namespace zeropoint::onnx_file
