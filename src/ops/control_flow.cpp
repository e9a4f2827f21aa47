// If, Loop, Scan: nodes that run subgraphs. A subgraph sees the values of the graphs around it by name (Scope).
#include <fmt/format.h>

#include <algorithm>

#include "ops/families.h"
#include "ops/inference.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// What is true of both: dimensions that differ are unknown, ranks that differ leave no shape.
TensorType common(const Node& node, const TensorType& a, const TensorType& b) {
  TensorType result{same_dtype(node, a.dtype, b.dtype), std::nullopt};
  if (!a.shape || !b.shape || a.shape->size() != b.shape->size()) return result;
  result.shape = a.shape;
  for (std::size_t i = 0; i < a.shape->size(); ++i)
    if ((*a.shape)[i] != (*b.shape)[i]) (*result.shape)[i] = Dim();
  return result;
}

std::vector<TensorType> types_of(const std::vector<BodyValue>& values) {
  std::vector<TensorType> types;
  for (const BodyValue& value : values) types.push_back(value.type);
  return types;
}

bool flag(const Node& node, const Tensor& tensor, const char* what) {
  if (tensor.dtype() != DType::b8 || tensor.size() != 1)
    fail(ErrorCode::kBadType, node,
         fmt::format("{} must be one b8, is {}{}", what, name(tensor.dtype()), to_string(tensor.dims())));
  return tensor.values<bool>()[0];
}

// ---- If(condition): the outputs of then_branch or of else_branch

std::optional<bool> known_condition(const ShapeArgs& args) {
  if (args.constants[0] != nullptr) return flag(args.node, *args.constants[0], "the condition");
  if (args.integers.empty() || args.integers[0] == nullptr || args.integers[0]->entries.size() != 1) return std::nullopt;
  const auto number = args.integers[0]->entries[0].number;
  return number ? std::optional(*number != 0) : std::nullopt;
}

void check_outputs(const Node& node, const std::string& attribute, std::size_t given, std::size_t wanted) {
  if (given != wanted)
    fail(ErrorCode::kBadModel, node, fmt::format("its {} gives {} outputs, the node needs {}", attribute, given, wanted));
}

std::vector<TensorType> if_shape(const ShapeArgs& args) {
  if (args.bodies == nullptr) return {};
  const Node& node = args.node;
  const auto infer = [&](const std::string& branch) {
    std::vector<TensorType> types = types_of(args.bodies->infer(branch, {}));
    check_outputs(node, branch, types.size(), node.outputs.size());
    return types;
  };
  if (const auto condition = known_condition(args)) {
    const std::string branch = *condition ? "then_branch" : "else_branch";
    std::vector<TensorType> types = infer(branch);
    args.bodies->adopt(branch);
    return types;
  }
  std::vector<TensorType> types = infer("then_branch");
  const std::vector<TensorType> others = infer("else_branch");
  for (std::size_t i = 0; i < types.size(); ++i) types[i] = common(node, types[i], others[i]);
  return types;
}

const Scope& scope_of(const ComputeArgs& args) {
  static const Scope none;
  return args.scope == nullptr ? none : *args.scope;
}

std::vector<Tensor> if_reference(const ComputeArgs& args) {
  const std::string branch = flag(args.node, args.inputs[0], "the condition") ? "then_branch" : "else_branch";
  std::vector<Tensor> outputs = BodyRun(args.node, branch, scope_of(args))({});
  check_outputs(args.node, branch, outputs.size(), args.node.outputs.size());
  return outputs;
}

// ---- what Loop and Scan share: values carried from one iteration to the next, and outputs stacked along a new axis

// Infers the body until the carried types hold in every iteration. `inputs` holds the body's inputs, of which those from
// `first` on are carried and come back as outputs from `back` on.
std::vector<BodyValue> settle_carried(const ShapeArgs& args, std::vector<BodyValue>& inputs, std::size_t first,
                                      std::size_t count, std::size_t back) {
  const Node& node = args.node;
  for (int round = 0;; ++round) {
    const bool last = args.bodies->deep();
    if (last)  // no rounds to find out: anything may change
      for (std::size_t i = 0; i < count; ++i) inputs[first + i].type.shape.reset();
    std::vector<BodyValue> outputs = args.bodies->infer("body", inputs, round > 0 || last);
    if (outputs.size() < back + count)
      fail(ErrorCode::kBadModel, node,
           fmt::format("its body gives {} outputs, the carried values need {}", outputs.size(), back + count));
    bool settled = true;
    for (std::size_t i = 0; i < count; ++i) {
      TensorType& carried = inputs[first + i].type;
      TensorType both = common(node, carried, outputs[back + i].type);
      if (both == carried) continue;
      if (carried.dtype == both.dtype && !carried.shape) continue;
      settled = false;
      if (round > 0) both.shape.reset();  // it keeps changing
      carried = both;
    }
    if (settled || last) return outputs;
  }
}

// Results of the iterations, joined along a new axis.
class Stack {
 public:
  void push(const Node& node, Tensor part) {
    if (!parts_.empty() && (parts_[0].dtype() != part.dtype() || parts_[0].dims() != part.dims()))
      fail(ErrorCode::kBadShape, node,
           fmt::format("a scan output is {}{} and {}{} in two iterations", name(parts_[0].dtype()), to_string(parts_[0].dims()),
                       name(part.dtype()), to_string(part.dims())));
    parts_.push_back(std::move(part));
  }
  bool empty() const { return parts_.empty(); }

  // `axis` counts in the result. Slot i of `length` takes part i, or part count - 1 - i; slots without a part are zero.
  Tensor joined(const Node& node, std::int64_t axis_attribute, bool reversed, std::size_t length) const {
    const Tensor& like = parts_[0];
    if (bits(like.dtype()) < 8) fail_type(node, 0, like.dtype());
    Dims dims = like.dims();
    const std::size_t axis = normalize_axis(node, axis_attribute, dims.size() + 1);
    dims.insert(dims.begin() + static_cast<std::ptrdiff_t>(axis), static_cast<std::int64_t>(length));
    Tensor result(like.dtype(), dims);
    const auto out = result.mutable_bytes();
    std::size_t inner = static_cast<std::size_t>(bits(like.dtype())) / 8, outer = 1;
    for (std::size_t i = 0; i < dims.size(); ++i)
      if (i != axis) (i < axis ? outer : inner) *= static_cast<std::size_t>(dims[i]);
    for (std::size_t part = 0; part < parts_.size(); ++part) {
      const std::size_t slot = reversed ? parts_.size() - 1 - part : part;
      for (std::size_t i = 0; i < outer; ++i)
        std::copy_n(parts_[part].bytes().data() + i * inner, inner, out.data() + (i * length + slot) * inner);
    }
    return result;
  }

  // No iteration ran: dimensions that the body does not tell are 0, as in ONNX Runtime.
  static Tensor nothing(const Node& node, const TensorType& type, std::int64_t axis_attribute, std::int64_t length) {
    if (type.dtype == DType::undefined || type.dtype == DType::opaque)
      fail(ErrorCode::kUnsupported, node, "no iteration runs and the body does not tell the type of its outputs");
    Dims dims;
    if (type.shape)
      for (const Dim& dim : *type.shape) dims.push_back(std::max<std::int64_t>(0, dim.value));
    const std::size_t axis = normalize_axis(node, axis_attribute, dims.size() + 1);
    dims.insert(dims.begin() + static_cast<std::ptrdiff_t>(axis), length);
    return Tensor(type.dtype, dims);
  }

 private:
  std::vector<Tensor> parts_;
};

TensorType type_of(const Tensor& tensor) { return {tensor.dtype(), to_shape(tensor.dims())}; }

// ---- Loop(trip count, condition, carried...): body(iteration, condition, carried...) -> (condition, carried..., scanned...)

const Tensor& yes() {
  static const Tensor value = Tensor::scalar(true);
  return value;
}

void check_loop(const Node& node, std::size_t body_inputs, std::size_t body_outputs) {
  const std::size_t carried = node.inputs.size() - 2;
  if (body_inputs != carried + 2)
    fail(ErrorCode::kBadModel, node, fmt::format("its body takes {} inputs, the loop gives {}", body_inputs, carried + 2));
  if (body_outputs < carried + 1 || body_outputs - 1 < node.outputs.size())
    fail(ErrorCode::kBadModel, node,
         fmt::format("its body gives {} outputs, too few for {} carried values and the node's {} outputs", body_outputs,
                     carried, node.outputs.size()));
}

std::vector<TensorType> loop_shape(const ShapeArgs& args) {
  if (args.bodies == nullptr) return {};
  const Node& node = args.node;
  const std::size_t carried = node.inputs.size() - 2;
  const Graph& body = *subgraph(node, "body");
  check_loop(node, body.inputs.size(), body.outputs.size());
  // An iteration runs only while the condition holds.
  const auto scalar_shape = [&](std::size_t input) {  // some exporters declare the two scalars as tensors of one element
    const auto& declared = body.inputs[input].type.shape;
    return declared && declared->size() == 1 ? Shape{Dim(1)} : Shape{};
  };
  std::vector<BodyValue> inputs(2);
  inputs[0].type = {DType::s64, scalar_shape(0)};
  inputs[1].type = {DType::b8, scalar_shape(1)};
  inputs[1].constant = &yes();
  for (std::size_t i = 0; i < carried; ++i) inputs.push_back({args.inputs[i + 2], nullptr});
  const std::vector<BodyValue> outputs = settle_carried(args, inputs, 2, carried, 1);

  Dim iterations;
  const auto is_yes = [](const Tensor* tensor) {
    return tensor != nullptr && tensor->dtype() == DType::b8 && tensor->size() == 1 && tensor->values<bool>()[0];
  };
  if (const auto trips = known_ints(args, 0); trips && trips->size() == 1)
    if (is_yes(outputs[0].constant) && (node.inputs[1].empty() || is_yes(args.constants[1])))
      iterations = Dim(std::max<std::int64_t>(0, (*trips)[0]));
  std::vector<TensorType> types;
  for (std::size_t i = 0; i < carried; ++i) types.push_back(common(node, inputs[i + 2].type, outputs[i + 1].type));
  for (std::size_t i = carried + 1; i < outputs.size(); ++i) {
    TensorType type = outputs[i].type;
    if (type.shape) type.shape->insert(type.shape->begin(), iterations);
    types.push_back(type);
  }
  return types;
}

std::vector<Tensor> loop(const ComputeArgs& args) {
  const Node& node = args.node;
  const std::size_t carried = node.inputs.size() - 2;
  const BodyRun body(node, "body", scope_of(args));
  check_loop(node, body.graph().inputs.size(), body.graph().outputs.size());
  std::int64_t trips = INT64_MAX;
  if (args.inputs[0].defined()) {
    if (args.inputs[0].size() != 1) fail(ErrorCode::kBadShape, node, "the trip count must be one number");
    trips = ints(args.inputs[0])[0];
  }
  bool go_on = !args.inputs[1].defined() || flag(node, args.inputs[1], "the condition");

  std::vector<Tensor> state(args.inputs.begin(), args.inputs.end());
  state.resize(carried + 2);
  const auto shaped = [&](std::size_t input, const Tensor& scalar) {
    const auto& declared = body.graph().inputs[input].type.shape;
    return declared && declared->size() == 1 ? scalar.reshaped({1}) : scalar;
  };
  state[1] = shaped(1, yes());
  std::vector<Stack> stacks(body.graph().outputs.size() - 1 - carried);
  std::size_t iterations = 0;
  for (; go_on && static_cast<std::int64_t>(iterations) < trips; ++iterations) {
    state[0] = shaped(0, Tensor::scalar(static_cast<std::int64_t>(iterations)));
    std::vector<Tensor> outputs = body(state);
    go_on = flag(node, outputs[0], "the condition");
    for (std::size_t i = 0; i < carried; ++i) state[i + 2] = std::move(outputs[i + 1]);
    for (std::size_t i = 0; i < stacks.size(); ++i) stacks[i].push(node, std::move(outputs[carried + 1 + i]));
  }

  std::vector<Tensor> results(state.begin() + 2, state.end());
  std::vector<TensorType> types;
  if (iterations == 0 && !stacks.empty()) {
    std::vector<TensorType> inputs = {type_of(shaped(0, Tensor::scalar<std::int64_t>(0))), type_of(state[1])};
    for (std::size_t i = 0; i < carried; ++i) inputs.push_back(type_of(state[i + 2]));
    types = body.types(inputs);
  }
  for (std::size_t i = 0; i < stacks.size(); ++i)
    results.push_back(iterations == 0 ? Stack::nothing(node, types[carried + 1 + i], 0, 0)
                                      : stacks[i].joined(node, 0, false, iterations));
  return results;
}

// ---- Scan(states..., scanned...): body(states..., an element of each scanned) -> (states..., elements of the outputs).
// Opset 8: each input has a batch axis before all, and an optional first input gives the length of each sequence.

struct ScanPlan {
  std::size_t first, states, scanned, outputs;  // position of the first state among the inputs, and counts
  std::vector<std::int64_t> input_axes, output_axes;
  std::vector<std::int64_t> input_backward, output_backward;
};

ScanPlan plan_scan(const Node& node, std::int64_t opset, std::size_t body_inputs, std::size_t body_outputs) {
  const bool batched = opset < 9;
  const std::size_t first = batched ? 1 : 0;
  const std::int64_t scanned = node.get_int("num_scan_inputs", 0);
  const std::size_t given = node.inputs.size() - first;
  if (scanned < 1 || scanned > static_cast<std::int64_t>(given))
    fail(ErrorCode::kBadAttribute, node, fmt::format("num_scan_inputs is {}, of {} inputs", scanned, given));
  ScanPlan plan{first, given - static_cast<std::size_t>(scanned), static_cast<std::size_t>(scanned), 0, {}, {}, {}, {}};
  if (body_inputs != given)
    fail(ErrorCode::kBadModel, node, fmt::format("its body takes {} inputs, the scan gives {}", body_inputs, given));
  if (body_outputs < plan.states || body_outputs < node.outputs.size())
    fail(ErrorCode::kBadModel, node,
         fmt::format("its body gives {} outputs, too few for {} states and the node's {} outputs", body_outputs, plan.states,
                     node.outputs.size()));
  plan.outputs = body_outputs - plan.states;
  const auto list = [&](const char* attribute, std::size_t count) {
    std::vector<std::int64_t> values = node.get_ints(attribute);
    if (values.empty()) values.resize(count, 0);
    if (values.size() != count)
      fail(ErrorCode::kBadAttribute, node, fmt::format("{} has {} entries, needs {}", attribute, values.size(), count));
    return values;
  };
  plan.input_axes = batched ? std::vector<std::int64_t>(plan.scanned, 0) : list("scan_input_axes", plan.scanned);
  plan.output_axes = batched ? std::vector<std::int64_t>(plan.outputs, 0) : list("scan_output_axes", plan.outputs);
  plan.input_backward = list(batched ? "directions" : "scan_input_directions", plan.scanned);
  plan.output_backward = batched ? std::vector<std::int64_t>(plan.outputs, 0) : list("scan_output_directions", plan.outputs);
  return plan;
}

std::vector<TensorType> scan_shape(const ShapeArgs& args) {
  if (args.bodies == nullptr) return {};
  const Node& node = args.node;
  const bool batched = args.opset < 9;
  const Graph& body = *subgraph(node, "body");
  const ScanPlan plan = plan_scan(node, args.opset, body.inputs.size(), body.outputs.size());
  Dim batch, length;
  std::vector<BodyValue> inputs;
  for (std::size_t i = 0; i < plan.states + plan.scanned; ++i) {
    TensorType type = args.inputs[plan.first + i];
    if (type.shape && batched) {
      if (type.shape->empty()) fail(ErrorCode::kBadShape, node, fmt::format("input {} has no batch axis", plan.first + i));
      batch = merge(node, batch, type.shape->front());
      type.shape->erase(type.shape->begin());
    }
    if (type.shape && i >= plan.states) {
      const std::size_t axis = normalize_axis(node, plan.input_axes[i - plan.states], type.shape->size());
      length = merge(node, length, (*type.shape)[axis]);
      type.shape->erase(type.shape->begin() + static_cast<std::ptrdiff_t>(axis));
    }
    inputs.push_back({type, nullptr});
  }
  const std::vector<BodyValue> outputs = settle_carried(args, inputs, 0, plan.states, 0);
  std::vector<TensorType> types;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    TensorType type = i < plan.states ? common(node, inputs[i].type, outputs[i].type) : outputs[i].type;
    if (type.shape && i >= plan.states) {
      const std::size_t axis = normalize_axis(node, plan.output_axes[i - plan.states], type.shape->size() + 1);
      type.shape->insert(type.shape->begin() + static_cast<std::ptrdiff_t>(axis), length);
    }
    if (type.shape && batched) type.shape->insert(type.shape->begin(), batch);
    types.push_back(type);
  }
  return types;
}

// Entry `index` along an axis, without that axis.
Tensor entry_of(const Node& node, const Tensor& tensor, std::size_t axis, std::int64_t index) {
  if (bits(tensor.dtype()) < 8) fail_type(node, axis, tensor.dtype());
  Dims dims = tensor.dims();
  const auto length = static_cast<std::size_t>(dims[axis]);
  dims.erase(dims.begin() + static_cast<std::ptrdiff_t>(axis));
  Tensor result(tensor.dtype(), dims);
  std::size_t inner = static_cast<std::size_t>(bits(tensor.dtype())) / 8, outer = 1;
  for (std::size_t i = 0; i < dims.size(); ++i) (i < axis ? outer : inner) *= static_cast<std::size_t>(dims[i]);
  const auto out = result.mutable_bytes();
  for (std::size_t i = 0; i < outer; ++i)
    std::copy_n(tensor.bytes().data() + (i * length + static_cast<std::size_t>(index)) * inner, inner, out.data() + i * inner);
  return result;
}

// The states and stacked outputs of one sequence; `longest` is the length of the stacks, `length` that of the sequence.
std::vector<Tensor> scan_sequence(const ComputeArgs& args, const ScanPlan& plan, const BodyRun& body,
                                  std::span<const Tensor> inputs, std::int64_t length, std::int64_t longest) {
  const Node& node = args.node;
  std::vector<Tensor> state(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(plan.states));
  std::vector<std::size_t> axes;
  for (std::size_t i = 0; i < plan.scanned; ++i)
    axes.push_back(normalize_axis(node, plan.input_axes[i], inputs[plan.states + i].rank()));
  std::vector<Stack> stacks(plan.outputs);
  for (std::int64_t step = 0; step < length; ++step) {
    std::vector<Tensor> values = state;
    for (std::size_t i = 0; i < plan.scanned; ++i)
      values.push_back(
          entry_of(node, inputs[plan.states + i], axes[i], plan.input_backward[i] != 0 ? length - 1 - step : step));
    std::vector<Tensor> outputs = body(values);
    for (std::size_t i = 0; i < plan.outputs; ++i) stacks[i].push(node, std::move(outputs[plan.states + i]));
    outputs.resize(plan.states);
    state = std::move(outputs);
  }
  std::vector<TensorType> types;
  if (length == 0 && plan.outputs > 0) {
    std::vector<TensorType> of_inputs;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      TensorType type = type_of(inputs[i]);
      if (i >= plan.states) type.shape->erase(type.shape->begin() + static_cast<std::ptrdiff_t>(axes[i - plan.states]));
      of_inputs.push_back(std::move(type));
    }
    types = body.types(of_inputs);
  }
  for (std::size_t i = 0; i < plan.outputs; ++i)
    state.push_back(length == 0 ? Stack::nothing(node, types[plan.states + i], plan.output_axes[i], longest)
                                : stacks[i].joined(node, plan.output_axes[i], plan.output_backward[i] != 0,
                                                   static_cast<std::size_t>(longest)));
  return state;
}

// All scanned inputs' length along their axis.
std::int64_t scan_length(const Node& node, const ScanPlan& plan, std::span<const Tensor> inputs) {
  std::int64_t length = -1;
  for (std::size_t i = 0; i < plan.scanned; ++i) {
    const Tensor& input = inputs[plan.states + i];
    const std::int64_t own = input.dim(normalize_axis(node, plan.input_axes[i], input.rank()));
    if (length >= 0 && own != length)
      fail(ErrorCode::kBadShape, node, fmt::format("scanned inputs have {} and {} elements", length, own));
    length = own;
  }
  return length;
}

std::vector<Tensor> scan(const ComputeArgs& args) {
  const Node& node = args.node;
  const BodyRun body(node, "body", scope_of(args));
  const ScanPlan plan = plan_scan(node, args.opset, body.graph().inputs.size(), body.graph().outputs.size());
  const auto inputs = args.inputs.subspan(plan.first, plan.states + plan.scanned);
  for (const Tensor& input : inputs)
    if (!input.defined()) fail(ErrorCode::kBadModel, node, "a state or scanned input is missing");
  if (args.opset >= 9) {
    const std::int64_t length = scan_length(node, plan, inputs);
    return scan_sequence(args, plan, body, inputs, length, length);
  }
  std::int64_t batch = -1;
  for (const Tensor& input : inputs) {
    if (input.rank() == 0 || (batch >= 0 && input.dim(0) != batch))
      fail(ErrorCode::kBadShape, node, "its inputs differ in the batch axis");
    batch = input.dim(0);
  }
  if (batch == 0) fail(ErrorCode::kUnsupported, node, "an empty batch");
  const Tensor& lengths = args.inputs[0];
  if (lengths.defined() && (lengths.rank() != 1 || lengths.dim(0) != batch))
    fail(ErrorCode::kBadShape, node, "sequence_lens must have one entry for each of the batch");
  std::vector<Stack> batches(plan.states + plan.outputs);
  for (std::int64_t b = 0; b < batch; ++b) {
    std::vector<Tensor> own;
    for (const Tensor& input : inputs) own.push_back(entry_of(node, input, 0, b));
    const std::int64_t longest = scan_length(node, plan, own);
    const std::int64_t length = lengths.defined() ? ints(lengths)[static_cast<std::size_t>(b)] : longest;
    if (length < 0 || length > longest)
      fail(ErrorCode::kBadShape, node, fmt::format("sequence_lens has the entry {}, sequences have {}", length, longest));
    std::vector<Tensor> results = scan_sequence(args, plan, body, own, length, longest);
    for (std::size_t i = 0; i < results.size(); ++i) batches[i].push(node, std::move(results[i]));
  }
  std::vector<Tensor> results;
  for (const Stack& stack : batches) results.push_back(stack.joined(node, 0, false, static_cast<std::size_t>(batch)));
  return results;
}

}  // namespace

std::vector<Operator> control_flow_operators() {
  return {
      {.op_type = "If", .shape = if_shape, .reference = if_reference},
      {.op_type = "Loop", .min_inputs = 2, .max_inputs = kAnyNumber, .shape = loop_shape, .reference = loop, .gaps = true},
      {.op_type = "Scan", .since = 8, .max_inputs = kAnyNumber, .shape = scan_shape, .reference = scan, .gaps = true},
  };
}

}  // namespace zeropoint::ops
