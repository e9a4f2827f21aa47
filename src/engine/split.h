// Where a graph must wait for data: the cut between what fixed input shapes decide and what they don't.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint::engine {

struct Split {
  Graph head;                               // outputs: the values that others need
  std::vector<Node> edges;                  // run on tensors, each when its inputs are there; they don't depend on each other
  Graph rest;                               // inputs: values of the head, of its inputs, and of the edges
  std::map<std::string, Tensor> constants;  // that edges read
  bool whole() const { return edges.empty(); }
};

// `graph` has the types of all values as far as fixed shapes of its inputs tell.
Split split(Graph graph);

}  // namespace zeropoint::engine
