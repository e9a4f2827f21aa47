// The operators that zeropoint knows: one file each, with its shape rule and its readable reference.
//
// A reference is the definition: row-major, ONNX layout, plain loops, one fp32 rounding an operation in the order of the
// operator's text. Faster code (kernels, engine) is tested against it. Operators that are not here pass through untouched.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint::ops {

// A small integer tensor whose entries shape arithmetic knows in part: a number, a named dimension, or unknown.
struct IntEntry {
  std::optional<std::int64_t> number;
  std::string symbol;  // of a dimension: never negative
  friend bool operator==(const IntEntry&, const IntEntry&) = default;
};
struct IntValues {
  Dims dims;  // row-major, as a tensor's
  std::vector<IntEntry> entries;
};

// A value that enters or leaves a subgraph, as far as it is known before anything runs.
struct BodyValue {
  TensorType type;
  const Tensor* constant = nullptr;  // the same in every iteration
};

// The subgraphs of a node, for its shape rule (If, Loop, Scan).
class Bodies {
 public:
  virtual ~Bodies() = default;
  // The outputs of the subgraph in that attribute, fed with `inputs`. The node keeps the subgraph with the types of its last
  // call. `varying`: some input's shape changes between iterations, so shapes that the file declares inside are not believed.
  virtual std::vector<BodyValue> infer(const std::string& attribute, std::span<const BodyValue> inputs,
                                       bool varying = false) = 0;
  // The node's outputs are those of this subgraph, known values too.
  virtual void adopt(const std::string& attribute) = 0;
  // Each round of inference costs as much as the subgraph and all that it holds: deep inside one must do.
  virtual bool deep() const = 0;
};

// What a shape rule sees. `constants[i]` is input i when its value is known, else null; `integers[i]` likewise for what is
// known in part. Absent optional inputs have dtype undefined and null. The spans cover at least Operator::max_inputs.
struct ShapeArgs {
  const Node& node;
  std::int64_t opset;  // of the node's domain
  std::span<const TensorType> inputs;
  std::span<const Tensor* const> constants;
  std::span<const IntValues* const> integers = {};  // empty: nothing is known
  Bodies* bodies = nullptr;                         // null: subgraphs are not looked into
};
// Types of the outputs; a missing shape or dtype undefined where they cannot be known. Throws Error kBadShape, kBadType or
// kBadAttribute (where = describe(node)) for what ONNX forbids.
using ShapeRule = std::vector<TensorType> (*)(const ShapeArgs& args);

// What lies around a graph that is evaluated: subgraphs read the values of the graphs that hold them.
struct Scope {
  std::function<const Tensor*(const std::string&)> value;       // of an outer value; null when there is none of that name
  const std::map<std::string, std::int64_t>* opsets = nullptr;  // of the model; null: the graph's own
  const std::atomic<bool>* interrupt = nullptr;                 // becomes true: loops throw Error kInterrupted
  int depth = 0;                                                // of nested subgraphs
  // Runs a subgraph in place of the references; it knows the outer values itself. Null: the references run.
  std::function<std::vector<Tensor>(const Graph& body, std::span<const Tensor> inputs)> run_body = nullptr;
};
inline constexpr int kMostNested = 64;

struct ComputeArgs {
  const Node& node;
  std::int64_t opset;
  std::span<const Tensor> inputs;       // absent optional: !defined(); at least Operator::max_inputs
  std::span<const TensorType> outputs;  // what the shape rule says of these inputs
  const Scope* scope = nullptr;         // for operators with subgraphs
};
using Reference = std::vector<Tensor> (*)(const ComputeArgs& args);
// Multiply-accumulates at fixed shapes; null means none.
using CountMacs = std::int64_t (*)(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType> outputs);

struct Operator {
  std::string_view domain = "";  // ai.onnx
  std::string_view op_type = "";
  std::int64_t since = 1;  // first opset whose meaning this implements
  std::size_t min_inputs = 1, max_inputs = 1;
  ShapeRule shape = nullptr;
  Reference reference = nullptr;
  CountMacs macs = nullptr;
  bool gaps = false;  // any input may be left out, not only those from min_inputs on
};
inline constexpr std::size_t kAnyNumber = 1U << 16;  // max_inputs of variadic operators

// Null when the operator is unknown.
const Operator* find(std::string_view domain, std::string_view op_type);
inline const Operator* find(const Node& node) { return find(node.domain, node.op_type); }
std::span<const Operator> all();

// Fills graph.types for every value that the rules reach (declared types win where the rules know nothing, and are checked
// where they know). Carries small constant and symbolic integer values through Shape, Gather, Concat, ... so that exporters'
// reshape arithmetic resolves. `input_shapes` fixes the dimensions of inputs first. Subgraphs are inferred with the outer types
// in scope; nodes then hold typed copies of them. Of an If whose condition is known only the branch that is taken is inferred.
void infer_shapes(Graph& graph, const std::map<std::string, Dims>& input_shapes = {});

// The same, and the small values (at most 1024 elements) that are the same whatever is fed: folded constants and the known
// parts of shape arithmetic, as Shape -> Gather of a fixed dimension.
std::map<std::string, Tensor> infer_values(Graph& graph);

// Runs the whole graph by the references. Returns every value asked for (`values` empty: the graph's outputs, in order).
// Throws Error kUnsupported naming the node when an operator is unknown.
std::vector<Tensor> evaluate(const Graph& graph, const std::map<std::string, Tensor>& feeds,
                             std::span<const std::string> values = {}, const std::atomic<bool>* interrupt = nullptr);
// One node by its reference. Subgraphs read constants of the graph; other outer values come from `outer`, where the graph's
// own opsets are taken when it names none.
std::vector<Tensor> evaluate(const Graph& graph, const Node& node, std::span<const Tensor> inputs, const Scope& outer = {});

// A subgraph that is run many times. Inputs in order; gives the outputs. Keeps references to `body` and `outer`.
class BodyRun {
 public:
  BodyRun(const Node& node, const std::string& attribute, const Scope& outer);  // throws kBadAttribute, kLimit
  ~BodyRun();
  BodyRun(const BodyRun&) = delete;
  BodyRun& operator=(const BodyRun&) = delete;
  std::vector<Tensor> operator()(std::span<const Tensor> inputs) const;
  // Types of the outputs for inputs of these types: for what is stacked zero times.
  std::vector<TensorType> types(std::span<const TensorType> inputs) const;
  const Graph& graph() const;

 private:
  struct Plan;
  std::unique_ptr<const Plan> plan_;
};

std::int64_t macs(const ValueIndex& values, const Node& node);  // 0 when unknown

}  // namespace zeropoint::ops
