// What one new version of an operator changed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint::ops {

// One node on its way from one version to the next. An adapter changes `node` in place; the nodes in `before` and `after` are
// put around it and are of the new version.
struct Adaption {
  Node node;
  std::vector<Node> before, after;
  bool dropped = false;     // `before` and `after` make the outputs
  std::int64_t target = 0;  // the opset at the end of the way

  // Of the graphs around the node.
  std::function<TensorType(const std::string& value)> type_of;
  std::function<const Tensor*(const std::string& value)> constant_of;  // initializer, or null
  std::function<bool(const std::string& value)> is_read;               // by a node or as an output
  std::function<std::string(const std::string& base)> fresh_name, fresh_node_name;
  std::function<std::string(const std::string& base, Tensor tensor)> add_constant;  // gives its name

  // A node named after this one; its single output has a fresh name, which is given back.
  std::string add_before(std::string op_type, std::vector<std::string> inputs,
                         std::map<std::string, Attribute> attributes = {});
  // The node's output gets a fresh name, and what is added takes its place.
  void add_after(std::size_t output, std::string op_type, std::vector<std::string> more_inputs = {},
                 std::map<std::string, Attribute> attributes = {});
  // Turns an attribute of integers (or one of a number) into the node's input at `position`; without it nothing happens.
  void ints_to_input(const std::string& attribute, std::size_t position);
  void set_input(std::size_t position, std::string value);  // absent ones before it are ""
  std::string constant(const std::string& what, Tensor tensor) { return add_constant(node.outputs[0] + "_" + what, tensor); }
  [[noreturn]] void refuse(const std::string& why) const;
};

struct Adapter {
  std::string_view op_type;
  std::int64_t version;  // the first opset with the new form
  void (*adapt)(Adaption&);
};
// In the order of their versions. Null when the operator never changed.
const std::vector<Adapter>* adapters_of(std::string_view op_type);

}  // namespace zeropoint::ops
