// Single nodes run from their text form, for tests.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ops/operator.h"
#include "zeropoint/error.h"

namespace zeropoint::ops {

using Feeds = std::map<std::string, Tensor>;

// The outputs of one node, written without its results: "TopK(x, k) {axis=1}".
inline std::vector<Tensor> run_all(const std::string& node, const Feeds& feeds, std::int64_t opset = 24, int outputs = 1) {
  std::string inputs, results;
  for (const auto& [name, tensor] : feeds)
    inputs +=
        (inputs.empty() ? "" : ", ") + name + ": " + std::string(zeropoint::name(tensor.dtype())) + to_string(tensor.dims());
  for (int i = 0; i < outputs; ++i) results += (i > 0 ? ", y" : "y") + std::to_string(i);
  Graph graph = parse_graph("ir_version 10\nopset " + std::to_string(opset) + "\ngraph g(" + inputs + ") -> (" + results +
                            ") {\n " + results + " = " + node + "\n}\n");
  infer_shapes(graph);
  return evaluate(graph, feeds);
}
inline Tensor run_node(const std::string& node, const Feeds& feeds, std::int64_t opset = 24) {
  return run_all(node, feeds, opset)[0];
}

template <class T>
Tensor list(const std::vector<T>& values) {
  return Tensor::of<T>({static_cast<std::int64_t>(values.size())}, values);
}
template <class T>
std::vector<T> values(const Tensor& tensor) {
  const auto span = tensor.values<T>();
  return {span.begin(), span.end()};
}

// "" when the call succeeds.
inline std::string refusal(const std::function<void()>& call, ErrorCode code) {
  try {
    call();
  } catch (const Error& error) {
    return error.code == code ? error.what() : "another error: " + std::string(error.what());
  }
  return "";
}

}  // namespace zeropoint::ops
