// One walk over the nodes in order: types by the shape rules, small values by the references, shape arithmetic by
// propagate_integers.
#include <fmt/format.h>

#include <deque>
#include <memory_resource>
#include <unordered_map>

#include "ir/naming.h"
#include "ops/inference.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

constexpr std::int64_t kMostElements = 1024;  // of a value that is carried along
// Of all of them, and the multiply-accumulates to find them out: what a file of any size may ask for.
constexpr std::int64_t kMostCarried = std::int64_t{1} << 22, kMostMacs = std::int64_t{1} << 22;
// Nodes of bodies, counted each time that their types are inferred, before loops get one round each.
constexpr std::int64_t kMostVisits = std::int64_t{1} << 20;
// Of the shapes of all values: a file may have a million nodes and a dimension with a name of a million letters.
constexpr std::size_t kMostShapeBytes = std::size_t{512} << 20;

// Of a graph and all its bodies together.
struct Totals {
  std::int64_t visits = 0;  // of nodes in bodies
  std::size_t shape_bytes = 0;
};

std::size_t bytes_of(const Shape& shape) {
  std::size_t bytes = sizeof(Dim) * shape.size();
  for (const Dim& dim : shape) bytes += dim.symbol.size();
  return bytes;
}

// How `declared` fits what the rules gave. With `strict`, a contradiction is an error; else the rules win.
TensorType reconcile(const std::string& value, TensorType inferred, const TensorType& declared, bool strict) {
  TensorType& result = inferred;
  const auto contradict = [&](ErrorCode code) {
    throw Error(code, "value '" + value + "'",
                fmt::format("the model declares {}, its nodes give {}", to_string(declared), to_string(inferred)));
  };
  if (result.dtype == DType::undefined)
    result.dtype = declared.dtype;
  else if (strict && declared.dtype != DType::undefined && declared.dtype != result.dtype)
    contradict(ErrorCode::kBadType);
  if (!declared.shape) return result;
  if (!result.shape) {
    result.shape = declared.shape;
    return result;
  }
  if (result.shape->size() != declared.shape->size()) {
    if (strict) contradict(ErrorCode::kBadShape);
    return result;
  }
  for (std::size_t i = 0; i < result.shape->size(); ++i) {
    Dim& dim = (*result.shape)[i];
    const Dim& said = (*declared.shape)[i];
    if (dim.fixed()) {
      if (strict && said.fixed() && said != dim) contradict(ErrorCode::kBadShape);
    } else if (said.fixed() || dim.symbol.empty()) {
      dim = said;
    }
  }
  return result;
}

class Inference {
 public:
  Inference(Graph& graph, bool strict) : graph_(graph), opsets_(graph.opsets), strict_(strict) { prepare(); }
  // Of a subgraph: outer values are looked up in `outer`, or in `scope` while evaluating.
  Inference(Graph& graph, Inference& outer)
      : graph_(graph),
        opsets_(outer.opsets_),
        strict_(outer.strict_),
        outer_(&outer),
        depth_(outer.depth_ + 1),
        totals_(outer.totals_) {
    prepare();
  }
  Inference(Graph& graph, const Scope& scope)
      : graph_(graph),
        opsets_(scope.opsets == nullptr ? graph.opsets : *scope.opsets),
        strict_(false),
        scope_(&scope),
        depth_(scope.depth) {
    prepare();
  }

  void set_input(std::size_t index, TensorType type, const Tensor* constant) {
    ValueInfo& input = graph_.inputs[index];
    if (type.dtype == DType::undefined) type.dtype = input.type.dtype;
    if (input.type.dtype != DType::undefined && type.dtype != input.type.dtype)
      throw Error(ErrorCode::kBadType, "value '" + input.name + "'",
                  fmt::format("the subgraph declares {}, it is {}", name(input.type.dtype), name(type.dtype)));
    input.type = std::move(type);
    Value& value = values_[input.name];
    value.type = &input.type;
    if (constant != nullptr) value.known = std::make_unique<Known>(*constant, as_integers(*constant));
  }

  void run() {
    if (depth_ > 0) totals_->visits += static_cast<std::int64_t>(graph_.nodes.size());
    for (Node& node : graph_.nodes) {
      std::vector<TensorType> outputs = visit(node);
      outputs.resize(std::max(outputs.size(), node.outputs.size()));
      for (std::size_t i = 0; i < node.outputs.size(); ++i)
        if (!node.outputs[i].empty()) settle(node.outputs[i], std::move(outputs[i]));
    }
  }

  // What is known of the outputs. The pointers live as long as this.
  std::vector<BodyValue> outputs() {
    std::vector<BodyValue> result;
    for (ValueInfo& output : graph_.outputs) {
      const TensorType type = type_of(output.name);
      if (output.type.dtype == DType::undefined) output.type.dtype = type.dtype;
      if (!output.type.shape) output.type.shape = type.shape;
      result.push_back({type, constant_of(output.name)});
    }
    return result;
  }

  // The constants among the values that nodes make.
  std::map<std::string, Tensor> constants() const {
    std::map<std::string, Tensor> result;
    for (const auto& [name, value] : values_)
      if (value.known && value.known->constant) result.emplace(name, *value.known->constant);
    return result;
  }

 private:
  // What is known of one value beside its type.
  struct Known {
    std::optional<Tensor> constant;  // made by a node; initializers are looked up
    std::optional<IntValues> integers;
  };
  struct Value {
    const TensorType* type = nullptr;     // where the graph or this keeps it
    const Tensor* initializer = nullptr;  // it is one
    std::unique_ptr<Known> known = nullptr;

    const Tensor* constant() const {
      return initializer != nullptr ? initializer : known && known->constant ? &*known->constant : nullptr;
    }
    Known& know() {
      if (!known) known = std::make_unique<Known>();
      return *known;
    }
  };

  static std::optional<IntValues> as_integers(const Tensor& tensor) {
    if (tensor.size() > kMostElements) return std::nullopt;
    IntValues result{tensor.dims(), {}};
    if (tensor.dtype() == DType::b8) {
      for (const bool value : tensor.values<bool>()) result.entries.push_back({value ? 1 : 0, ""});
    } else if (tensor.dtype() == DType::s64 || tensor.dtype() == DType::s32) {
      for (const std::int64_t value : ints(tensor)) result.entries.push_back({value, ""});
    } else {
      return std::nullopt;
    }
    return result;
  }

  // The tensor that fully known integers are.
  static std::optional<Tensor> as_tensor(const IntValues& values, DType dtype) {
    std::vector<std::int64_t> numbers;
    for (const IntEntry& entry : values.entries) {
      if (!entry.number) return std::nullopt;
      numbers.push_back(*entry.number);
    }
    if (dtype == DType::s64) return Tensor::of_ints(numbers).reshaped(values.dims);
    if (dtype == DType::s32)
      return Tensor::of<std::int32_t>(values.dims, std::vector<std::int32_t>(numbers.begin(), numbers.end()));
    return std::nullopt;
  }

  void prepare() {
    values_.reserve(graph_.inputs.size() + graph_.nodes.size());
    for (const ValueInfo& input : graph_.inputs) values_[input.name].type = &input.type;
  }

  // What is known of a value here or around; null when nothing is.
  Value* find_value(const std::string& name) {
    if (name.empty()) return nullptr;
    if (const auto found = values_.find(name); found != values_.end()) return &found->second;
    if (const auto found = graph_.initializers.find(name); found != graph_.initializers.end()) {
      const Tensor& tensor = found->second;
      Value& value = values_[found->first];
      value.initializer = &tensor;
      value.type = &constant_types_.emplace_back(TensorType{tensor.dtype(), to_shape(tensor.dims())});
      return &value;
    }
    if (outer_ != nullptr) return outer_->find_value(name);
    const Tensor* tensor = scope_ != nullptr && scope_->value ? scope_->value(name) : nullptr;
    if (tensor == nullptr) return nullptr;
    Value& value = values_[name];
    value.type = &constant_types_.emplace_back(TensorType{tensor->dtype(), to_shape(tensor->dims())});
    return &value;
  }

  TensorType type_of(const std::string& name) {
    const Value* value = find_value(name);
    return value == nullptr || value->type == nullptr ? TensorType{} : *value->type;
  }

  // Keeps sums and products of the rules far from overflow.
  static void check_dimensions(const Node& node, const TensorType& type) {
    constexpr std::int64_t kMostDimension = std::int64_t{1} << 44;
    constexpr std::size_t kMostDimensions = 64;  // of each of a million values
    if (!type.shape) return;
    if (type.shape->size() > kMostDimensions)
      fail(ErrorCode::kLimit, node, fmt::format("a tensor of {} dimensions; at most {}", type.shape->size(), kMostDimensions));
    for (const Dim& dim : *type.shape)
      if (dim.value > kMostDimension)
        fail(ErrorCode::kLimit, node, "a dimension of " + to_string(*type.shape) + " is too large");
  }

  const Tensor* constant_of(const std::string& name) {
    const Value* value = find_value(name);
    return value == nullptr ? nullptr : value->constant();
  }

  static const IntValues* integers_of(Value& value) {
    if (value.initializer != nullptr && !value.known && value.initializer->size() <= kMostElements)
      value.know().integers = as_integers(*value.initializer);
    return value.known && value.known->integers ? &*value.known->integers : nullptr;
  }

  // Infers the subgraphs of one node on copies, which the node takes over at the end.
  class NodeBodies final : public Bodies {
   public:
    NodeBodies(const Node& node, Inference& around) : node_(node), around_(around) {}

    std::vector<BodyValue> infer(const std::string& attribute, std::span<const BodyValue> inputs, bool varying) override {
      if (around_.depth_ >= kMostNested)
        fail(ErrorCode::kLimit, node_, fmt::format("subgraphs nest deeper than {}", kMostNested));
      auto body = std::make_shared<Graph>(*subgraph(node_, attribute));
      if (inputs.size() != body->inputs.size())
        fail(ErrorCode::kBadModel, node_,
             fmt::format("its subgraph '{}' takes {} inputs, is given {}", body->name, body->inputs.size(), inputs.size()));
      if (varying) forget_shapes(*body);
      auto inner = std::make_unique<Inference>(*body, around_);
      for (std::size_t i = 0; i < inputs.size(); ++i) inner->set_input(i, inputs[i].type, inputs[i].constant);
      inner->run();
      std::vector<BodyValue> outputs = inner->outputs();
      bodies_[attribute] = {std::move(body), std::move(inner)};
      return outputs;
    }
    void adopt(const std::string& attribute) override { adopted_ = attribute; }
    bool deep() const override { return around_.depth_ >= 4 || around_.totals_->visits > kMostVisits; }

    void store(Node& node) {
      for (auto& [attribute, body] : bodies_) node.attributes[attribute] = std::shared_ptr<const Graph>(body.graph);
    }
    // The subgraph whose outputs are the node's.
    Inference* adopted() {
      const auto found = bodies_.find(adopted_);
      return found == bodies_.end() ? nullptr : found->second.inference.get();
    }

   private:
    struct Body {
      std::shared_ptr<Graph> graph;
      std::unique_ptr<Inference> inference;
    };

    static void forget_shapes(Graph& body) {
      for (auto& [value, type] : body.types) type.shape.reset();
      for (ValueInfo& output : body.outputs) output.type.shape.reset();
    }

    const Node& node_;
    Inference& around_;
    std::map<std::string, Body> bodies_;
    std::string adopted_;
  };

  std::vector<TensorType> visit(Node& node) {
    const Operator* entry = find(node);
    const std::int64_t opset = node_opset(opsets_, node);
    if (entry == nullptr || entry->shape == nullptr || opset < entry->since) return {};
    check_inputs(node, *entry);
    const std::size_t count =
        entry->max_inputs < kAnyNumber ? std::max(entry->max_inputs, node.inputs.size()) : node.inputs.size();
    // Kept from node to node: a graph may have a million.
    input_types_.resize(std::max(input_types_.size(), count));
    constants_.assign(count, nullptr);
    integers_.assign(count, nullptr);
    for (std::size_t i = 0; i < count; ++i) {
      Value* value = i < node.inputs.size() ? find_value(node.inputs[i]) : nullptr;
      if (value == nullptr || value->type == nullptr) {
        input_types_[i] = {};
      } else {
        input_types_[i] = *value->type;
        check_dimensions(node, input_types_[i]);
      }
      if (value == nullptr) continue;
      constants_[i] = value->constant();
      integers_[i] = integers_of(*value);
    }

    std::vector<TensorType> outputs;
    NodeBodies bodies(node, *this);
    const ShapeArgs args{node, opset, std::span(input_types_).first(count), constants_, integers_, &bodies};
    try {
      outputs = entry->shape(args);
      if (has_subgraph(node)) {
        adopt_values(node, bodies.adopted());
        bodies.store(node);
      } else if (!node.outputs.empty() && !node.outputs[0].empty()) {
        carry(node, *entry, args, outputs);
      }
    } catch (const Error& error) {
      if (error.code == ErrorCode::kUnsupported) return outputs;  // it cannot run, but it can stay in the graph
      if (!error.where.empty()) throw;
      throw Error(error.code, describe(node), error.what());
    }
    return outputs;
  }

  void adopt_values(const Node& node, Inference* body) {
    if (body == nullptr) return;
    for (std::size_t i = 0; i < std::min(node.outputs.size(), body->graph_.outputs.size()); ++i) {
      if (node.outputs[i].empty()) continue;
      Value* value = body->find_value(body->graph_.outputs[i].name);
      const IntValues* integers = value == nullptr ? nullptr : integers_of(*value);
      const Tensor* constant = value == nullptr ? nullptr : value->constant();
      if (constant != nullptr && constant->size() > kMostElements) constant = nullptr;
      if (integers == nullptr && constant == nullptr) continue;
      Known& known = values_[node.outputs[i]].know();
      if (constant != nullptr) known.constant = *constant;
      if (integers != nullptr) known.integers = *integers;
    }
  }

  // Finds out the value of the node's first output where it is small and decided by what is known.
  void carry(const Node& node, const Operator& entry, const ShapeArgs& args, const std::vector<TensorType>& outputs) {
    // Quantized constants stay quantized.
    if (node.op_type == "QuantizeLinear" || node.op_type == "DequantizeLinear") return;
    if (carried_ > kMostCarried) return;
    if (node.outputs.size() == 1 && entry.reference != nullptr && all_small(node, args) && small(outputs[0])) {
      if (entry.macs != nullptr) {
        const std::int64_t macs = entry.macs(node, args.inputs.first(node.inputs.size()), outputs);
        if (macs > kMostMacs - macs_) return;
        macs_ += macs;
      }
      std::vector<Tensor> inputs;
      for (const Tensor* tensor : args.constants) inputs.push_back(tensor == nullptr ? Tensor() : *tensor);
      const Tensor value = compute(entry, {node, args.opset, inputs, outputs})[0];
      carried_ += std::max<std::int64_t>(1, value.size());
      values_[node.outputs[0]].known = std::make_unique<Known>(value, as_integers(value));
      return;
    }
    if (auto integers = propagate_integers(args)) {
      const auto count = static_cast<std::int64_t>(integers->entries.size());
      if (count > kMostElements) return;
      carried_ += std::max<std::int64_t>(1, count);
      Known& known = values_[node.outputs[0]].know();
      known.constant = as_tensor(*integers, outputs[0].dtype);
      known.integers = std::move(integers);
    }
  }

  static bool small(const TensorType& type) {
    const auto count = type.shape ? known_count(*type.shape) : std::nullopt;
    return count && *count <= kMostElements;
  }

  static bool all_small(const Node& node, const ShapeArgs& args) {
    for (std::size_t i = 0; i < node.inputs.size(); ++i)
      if (!node.inputs[i].empty() && (args.constants[i] == nullptr || args.constants[i]->size() > kMostElements)) return false;
    return true;
  }

  // Joins a value's inferred type with the declared one and keeps the result.
  void settle(const std::string& name, TensorType type) {
    auto declared = graph_.types.lower_bound(name);
    const bool is_declared = declared != graph_.types.end() && declared->first == name;
    if (is_declared) {
      type = reconcile(name, std::move(type), declared->second, strict_);
      declared->second = type;
    }
    if (type.shape && (totals_->shape_bytes += bytes_of(*type.shape)) > kMostShapeBytes)
      throw Error(ErrorCode::kLimit, "value '" + name + "'",
                  fmt::format("the shapes of all values take more than {} MB", kMostShapeBytes >> 20));
    Value& value = values_[name];
    if (const auto output = index_.output(name)) {
      TensorType& kept = graph_.outputs[*output].type;
      kept = reconcile(name, std::move(type), kept, strict_);
      value.type = &kept;
    } else if (is_declared) {
      value.type = &declared->second;
    } else if (type.dtype != DType::undefined || type.shape) {
      value.type = &graph_.types.emplace_hint(declared, name, std::move(type))->second;
    }
  }

  Graph& graph_;
  const std::map<std::string, std::int64_t>& opsets_;  // of the model
  const bool strict_;
  Inference* const outer_ = nullptr;
  const Scope* const scope_ = nullptr;
  const int depth_ = 0;
  std::shared_ptr<Totals> totals_ = std::make_shared<Totals>();
  std::int64_t carried_ = 0, macs_ = 0;  // elements, and work for them
  const ValueIndex index_{graph_};
  std::pmr::monotonic_buffer_resource memory_;                         // a graph may have a million values
  std::pmr::unordered_map<std::string_view, Value> values_{&memory_};  // names are the graph's
  std::deque<TensorType> constant_types_;
  // Of the node at hand.
  std::vector<TensorType> input_types_;
  std::vector<const Tensor*> constants_;
  std::vector<const IntValues*> integers_;
};

// Fixes the inputs' dimensions and every other that has the same name.
void fix_inputs(Graph& graph, const std::map<std::string, Dims>& input_shapes) {
  std::map<std::string, std::int64_t> symbols;
  for (const auto& [value, dims] : input_shapes) {
    const std::string where = "input '" + value + "'";
    ValueInfo* input = nullptr;
    for (ValueInfo& candidate : graph.inputs)
      if (candidate.name == value) input = &candidate;
    if (input == nullptr) throw Error(ErrorCode::kBadArgument, where, "the graph has no such input");
    if (!input->type.shape) input->type.shape = unknown_shape(dims.size());
    Shape& shape = *input->type.shape;
    const auto misfit = [&] {
      throw Error(ErrorCode::kBadShape, where, fmt::format("takes {}, not {}", to_string(shape), to_string(dims)));
    };
    if (shape.size() != dims.size()) misfit();
    for (std::size_t i = 0; i < dims.size(); ++i) {
      if (dims[i] < 0 || (shape[i].fixed() && shape[i].value != dims[i])) misfit();
      if (!shape[i].symbol.empty() && symbols.emplace(shape[i].symbol, dims[i]).first->second != dims[i])
        throw Error(
            ErrorCode::kBadShape, where,
            fmt::format("dimension {} cannot be {} and {} at once", shape[i].symbol, symbols[shape[i].symbol], dims[i]));
    }
    shape = to_shape(dims);
  }
  const auto replace = [&](TensorType& type) {
    if (!type.shape) return;
    for (Dim& dim : *type.shape)
      if (const auto found = symbols.find(dim.symbol); !dim.fixed() && found != symbols.end()) dim = Dim(found->second);
  };
  for (ValueInfo& input : graph.inputs) replace(input.type);
}

}  // namespace

void infer_shapes(Graph& graph, const std::map<std::string, Dims>& input_shapes) {
  naming_source(graph, [&] {
    fix_inputs(graph, input_shapes);
    Inference(graph, input_shapes.empty()).run();
  });
}

std::vector<TensorType> body_types(const Graph& body, std::span<const TensorType> inputs, const Scope& outer) {
  Graph copy = body;
  Inference inference(copy, outer);
  for (std::size_t i = 0; i < std::min(inputs.size(), copy.inputs.size()); ++i) inference.set_input(i, inputs[i], nullptr);
  inference.run();
  std::vector<TensorType> types;
  for (const BodyValue& output : inference.outputs()) types.push_back(output.type);
  return types;
}

std::map<std::string, Tensor> infer_values(Graph& graph) {
  return naming_source(graph, [&] {
    Inference inference(graph, true);
    inference.run();
    return inference.constants();
  });
}

}  // namespace zeropoint::ops
