// Which attributes each operator has.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

#include "zeropoint/graph.h"

namespace zeropoint::ops {

struct AttributeChecks {
  const std::map<std::string, std::int64_t>* opsets = nullptr;  // null: the graph's own
  std::function<bool(const Node&)> skip = nullptr;              // calls of functions, whose attributes are their own
  bool references = false;  // what is not interpreted may refer to an attribute of the function around it
};

// Throws Error kBadAttribute, `where` naming the node, for an attribute that its operator does not have in that opset, or that
// is of another kind; subgraphs are checked too. Operators and opsets that this version does not know may have any, as may
// names that begin with two underscores, which ONNX leaves to tools.
void check_attributes(const Graph& graph, const AttributeChecks& checks = {});

}  // namespace zeropoint::ops
