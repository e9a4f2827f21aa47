#include "quant/without_data.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/spill.h"
#include "ir/names.h"
#include "ops/operator.h"
#include "passes/raise_opset.h"
#include "quant/choose_qparams.h"
#include "quant/quantize_weight.h"
#include "quant/rule_matcher.h"
#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

constexpr char kMicrosoft[] = "com.microsoft";
constexpr std::int64_t kOpsetOfDynamic = 11, kOpsetOfChannels = 13;
constexpr std::int64_t kDeepestSum = 2147483647 / (255 * 128);  // products of u8 and s8 that surely fit into s32
constexpr std::size_t kInMemory = std::size_t{256} << 20;       // bytes of integers before a file is used
constexpr std::int64_t kLeastTable = 4096;                      // elements; smaller embeddings save nothing
constexpr std::int64_t kFloatCode = 1;                          // TensorProto.DataType

// Operators with weights, and the input that holds them.
struct WeightedOperator {
  std::string_view domain, op_type;
  std::size_t weight;
};
constexpr WeightedOperator kWeighted[] = {
    {"", "MatMul", 1}, {"", "Gemm", 1}, {"", "Conv", 1},   {"", "ConvTranspose", 1},     {"", "LSTM", 1},
    {"", "GRU", 1},    {"", "RNN", 1},  {"", "Gather", 0}, {kMicrosoft, "Attention", 1},
};
const WeightedOperator* weighted(const Node& node) {
  for (const WeightedOperator& each : kWeighted)
    if (each.op_type == node.op_type && each.domain == node.domain) return &each;
  return nullptr;
}
bool is_recurrent(const Node& node) { return node.is("LSTM") || node.is("GRU") || node.is("RNN"); }

// What becomes of a node.
// left: in float, weights too; scores and values: the two products of an attention
enum class Form : std::uint8_t { none, left, product, convolution, lstm, weights, rows, scores, values };
struct Plan {
  Form form = Form::none;
  std::string reason;  // why not, or why not more
};

bool is_depthwise(const Node& node, const Tensor& weight) { return node.get_int("group", 1) > 1 && weight.dim(1) <= 4; }

class Rewriter {
 public:
  Rewriter(Graph graph, const Recipe& recipe, int threads, const std::filesystem::path& folder)
      : graph_(std::move(graph)),
        recipe_(recipe),
        matcher_(recipe),
        uses_(find_uses(graph_)),
        threads_(threads),
        spill_(kInMemory, folder) {}

  // What run() would do, without doing it.
  WithoutData forecast() {
    make_plans();
    WithoutData result;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) tell(graph_.nodes[i], plans_[i], result);
    result.notes = notes();
    return result;
  }

  WithoutData run() {
    make_plans();
    raise_opset();
    names_.emplace(graph_);
    node_names_.emplace(NamePool::of_nodes(graph_));
    WithoutData result;
    original_ = std::move(graph_.nodes);
    const std::vector<Node>& nodes = original_;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      const Plan& plan = plans_[i];
      const Node& node = nodes[i];
      try {
        rewrite(node, plan.form);
      } catch (const Error& error) {
        if (!error.where.empty()) throw;
        throw Error(error.code, describe(node), error.what());
      }
      tell(node, plan, result);
    }
    graph_.nodes = std::move(nodes_);
    if (uses_microsoft_) graph_.opsets[kMicrosoft] = 1;
    remove_unused_values(graph_);
    verify(graph_);
    result.graph = std::move(graph_);
    result.notes = notes();
    return result;
  }

 private:
  // --- what becomes of a node ---
  void make_plans() {
    infer_types();
    for (const Node& node : graph_.nodes) {
      plans_.push_back(plan(node));
      if (plans_.back().form == Form::left) plans_.back().form = Form::none;
    }
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) plan_attention(i);
  }
  // MatMul -> (Mul or Div by a number) -> (Add) -> Softmax -> MatMul of activations: both products in integers, where the
  // runtime has one kernel for all of it.
  void plan_attention(std::size_t index) {
    const Node& values = graph_.nodes[index];
    const auto dynamic = [&](const Node& node) {
      const Rule* rule = rule_of(node);
      return rule && rule->weight && rule->activation && rule->activation->dynamic;
    };
    const auto computed = [&](const std::string& value) {
      const auto producer = uses_.producer.find(value);
      return !graph_.constant(value) && is_f32(value) &&
             (producer == uses_.producer.end() || !graph_.nodes[producer->second].is("Constant"));
    };
    const auto product = [&](const Node& node) {
      return node.is("MatMul") && dynamic(node) && computed(node.input(0)) && computed(node.input(1));
    };
    const auto alone = [&](const std::string& value) {  // its maker, when nobody else reads it
      const auto producer = uses_.producer.find(value);
      const auto readers = uses_.consumers.find(value);
      return producer == uses_.producer.end() || types_->is_output(value) || readers->second.size() != 1
                 ? nullptr
                 : &graph_.nodes[producer->second];
    };
    if (recipe_.target != Target::zeropoint || !product(values)) return;
    const Node* node = alone(values.input(0));
    const std::optional<Shape> shape = type_of(values.input(0)).shape;
    if (!node || !node->is("Softmax") || !shape || shape->size() < 3) return;
    const std::int64_t axis = node->get_int("axis", graph_.opset() < 13 ? 1 : -1);
    if (axis != -1 && axis != static_cast<std::int64_t>(shape->size()) - 1) return;
    node = alone(node->input(0));
    if (node && node->is("Add")) {
      const Node* other = alone(node->input(1));
      node = alone(node->input(0));  // the mask stands on either side
      if (!node || !(node->is("MatMul") || node->is("Mul") || node->is("Div"))) node = other;
    }
    if (node && (node->is("Mul") || node->is("Div"))) node = alone(node->input(computed(node->input(0)) ? 0 : 1));
    if (!node || !product(*node)) return;
    plans_[static_cast<std::size_t>(node - graph_.nodes.data())] = {Form::scores, ""};
    plans_[index] = {Form::values, ""};
  }
  void tell(const Node& node, const Plan& plan, WithoutData& result) const {
    if (plan.form == Form::product || plan.form == Form::convolution || plan.form == Form::lstm || plan.form == Form::scores ||
        plan.form == Form::values)
      result.integer_names.insert(name_of(node));
    if (plan.form == Form::weights || plan.form == Form::rows) result.weight_names.insert(name_of(node));
    if (plan.form == Form::none || !plan.reason.empty())
      if (const std::string why = why_in_float(node, plan); !why.empty())
        result.left_in_float.push_back({name_of(node), node.op_type, why});
    add_bodies(node, result.left_in_float);
  }
  void infer_types() {
    typed_ = graph_;
    ops::infer_shapes(typed_);
    typed_.nodes.clear();
    types_.emplace(typed_);
  }
  TensorType type_of(const std::string& value) const {
    const TensorType type = types_->type_of(value);
    return type.dtype == DType::undefined ? graph_.type_of(value) : type;  // made since
  }
  bool is_f32(const std::string& value) const { return type_of(value).dtype == DType::f32; }
  const Tensor* f32_constant(const std::string& value) const {
    const Tensor* tensor = value.empty() ? nullptr : graph_.constant(value);
    return tensor && tensor->dtype() == DType::f32 ? tensor : nullptr;
  }
  const Rule* rule_of(const Node& node) const {
    const std::optional<std::size_t> rule = matcher_.last_match(node);
    return rule ? &recipe_.rules[*rule] : nullptr;
  }

  Plan plan(const Node& node) {
    const WeightedOperator* kind = weighted(node);
    if (!kind) return {};
    const Rule* rule = rule_of(node);
    if (!rule) return {Form::none, "no rule of the recipe matches it"};
    if (!rule->weight) return {Form::none, fmt::format("a rule of the recipe (scope '{}') keeps it in float", rule->scope)};
    if (rule->activation && !rule->activation->dynamic) return {};  // static: not ours
    const Tensor* weight = f32_constant(node.input(kind->weight));
    if (node.is("Gather")) return plan_gather(node, weight);
    if (!weight && node.is("MatMul") && f32_constant(node.input(0))) return plan_weights(node, *f32_constant(node.input(0)));
    if (!weight) return {Form::none, why_no_weight(node, kind->weight)};
    if (rule->activation) {
      const Plan dynamic = plan_dynamic(node, *weight, *rule);
      if (dynamic.form != Form::none) return dynamic;
      Plan alone = plan_weights(node, *weight);
      if (alone.form == Form::weights) alone.reason = fmt::format("{}; its weights are stored as integers", dynamic.reason);
      return alone;
    }
    return plan_weights(node, *weight);
  }
  std::string why_no_weight(const Node& node, std::size_t input) const {
    const std::string& w = node.input(input);
    if (const Tensor* constant = graph_.constant(w)) {
      const bool real = is_float(constant->dtype());
      return fmt::format("its weights are {}, not f32{}", name(constant->dtype()),
                         real ? ": export the model in float32 to quantize it" : "");
    }
    if (node.is("MatMul")) return "a product of two activations: its operands change with each input";
    return "its weights are computed, not constant";
  }
  Plan plan_gather(const Node& node, const Tensor* table) const {
    if (!table) return {};  // of shapes and other activations
    if (table->rank() != 2 || node.get_int("axis", 0) != 0) return {Form::none, "not an embedding: a table of rows"};
    if (table->size() < kLeastTable) return {Form::none, fmt::format("a table of {} elements saves nothing", table->size())};
    return {Form::rows, ""};
  }
  Plan plan_weights(const Node& node, const Tensor& weight) const {
    if (weight.size() == 0) return {Form::none, "its weights are empty"};
    if (is_recurrent(node)) {
      if (weight.rank() != 3 || !f32_constant(node.input(2)) || f32_constant(node.input(2))->rank() != 3)
        return {Form::none, "its recurrent weights are not constant f32 of 3 dimensions"};
    } else if (weight.rank() < 2) {
      return {Form::none, "its weights are a vector"};
    }
    return {Form::weights, ""};
  }
  Plan plan_dynamic(const Node& node, const Tensor& weight, const Rule& rule) {
    const Scheme& w = *rule.weight;
    const auto no = [](std::string why) { return Plan{Form::none, std::move(why)}; };
    if (weight.size() == 0) return no("its weights are empty");
    if (graph_.constant(node.input(0))) return no("its first input is a constant");
    if (node.is("LSTM") && recipe_.target == Target::onnxruntime) return plan_lstm(node, weight, w);
    if (is_recurrent(node)) return no("it has no integer form in standard ONNX");
    if (node.is("MatMul") || node.is("Gemm")) {
      if (weight.rank() != 2) return no(fmt::format("its weights have {} dimensions", weight.rank()));
      if (node.is("Gemm") && node.get_int("transA", 0) != 0) return no("its first input is transposed (transA)");
      const std::int64_t k = weight.dim(node.is("Gemm") && node.get_int("transB", 0) != 0 ? 1 : 0);
      if (k > kDeepestSum) return no(fmt::format("sums of {} products pass 32 bits", k));
      return {Form::product, ""};
    }
    if (node.is("Conv")) {
      if (weight.rank() < 3) return no(fmt::format("its weights have {} dimensions", weight.rank()));
      if (weight.size() / weight.dim(0) > kDeepestSum) return no("its sums pass 32 bits");
      if (!w.symmetric && !std::holds_alternative<PerTensor>(w.granularity))
        return no("ConvInteger has one zero point for all weights: symmetric weights can be per channel");
      // Asked for by name: done, with a warning. By a general rule: only where it serves.
      const bool by_name = rule.op_type == "Conv" || rule.scope != ".*";
      const bool depthwise = is_depthwise(node, weight), gated = is_gated(node);
      if (depthwise) depthwise_.push_back(name_of(node));
      if (gated && !depthwise) gated_.push_back(name_of(node));
      if (!depthwise && !gated) dense_.push_back(name_of(node));
      if (!by_name) {
        left_.push_back(name_of(node));
        if (recipe_.target != Target::zeropoint) return {Form::left, "dynamic convolutions are slower than float ones there"};
        if (depthwise) return {Form::left, "a depthwise convolution: it gains little and loses accuracy"};
        if (gated) return {Form::left, "a gated convolution: one large value of the gate decides the range of all"};
        left_.pop_back();
      }
      return {Form::convolution, ""};
    }
    return no("it has no integer form in standard ONNX");
  }
  // ONNX Runtime's DynamicQuantizeLSTM has no attribute `layout`.
  Plan plan_lstm(const Node& node, const Tensor& weight, const Scheme& scheme) const {
    const Plan weights = plan_weights(node, weight);
    if (weights.form != Form::weights) return weights;
    if (node.get_int("layout", 0) != 0) return {Form::none, "DynamicQuantizeLSTM has no layout 1"};
    if (!std::holds_alternative<PerChannel>(scheme.granularity))
      return {Form::none, "DynamicQuantizeLSTM takes weights per channel"};
    return {Form::lstm, ""};
  }
  // Its result is multiplied by another value computed from activations: squeeze-and-excite, sigmoid gates.
  bool is_gated(const Node& node) const {
    std::string value = node.outputs[0];
    for (int depth = 0; depth < 4; ++depth) {
      const auto readers = uses_.consumers.find(value);
      if (readers == uses_.consumers.end()) return false;
      const Node* next = nullptr;
      for (const std::size_t reader : readers->second) {
        const Node& each = graph_.nodes[reader];
        if (each.is("Mul") && !graph_.constant(each.input(0)) && !graph_.constant(each.input(1))) return true;
        if (each.is("Sigmoid") || each.is("HardSigmoid") || each.is("Relu") || each.is("Clip")) next = &each;
      }
      if (!next) return false;
      value = next->outputs[0];
    }
    return false;
  }

  std::string why_in_float(const Node& node, const Plan& plan) const {
    if (!plan.reason.empty()) return plan.reason;
    if (node.inputs.empty()) return "";
    const bool makes_f32 = std::any_of(node.outputs.begin(), node.outputs.end(),
                                       [&](const std::string& value) { return !value.empty() && is_f32(value); });
    if (!makes_f32 || weighted(node)) return "";
    return node.is("If") || node.is("Loop") || node.is("Scan") ? "control flow: bodies stay in float" : "has no weights";
  }
  std::vector<std::string> notes() const {
    std::vector<std::string> notes;
    const auto some = [](const std::vector<std::string>& names) {
      return fmt::format("{}{}", fmt::join(names.begin(), names.begin() + std::min<std::ptrdiff_t>(2, std::ssize(names)), ", "),
                         names.size() > 2 ? ", ..." : "");
    };
    std::vector<std::string> slow;  // convolutions with stored weights
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      const Node& node = original_.empty() ? graph_.nodes[i] : original_[i];
      if (plans_[i].form == Form::weights && (node.is("Conv") || node.is("ConvTranspose"))) slow.push_back(name_of(node));
    }
    if (!slow.empty() && recipe_.target == Target::onnxruntime)
      notes.push_back(
          fmt::format("warning: onnxruntime makes the weights of {} convolutions ({}) real at every run: the file is smaller, "
                      "but slower than the float model; static_w8a8 with a few samples (--data) is smaller and faster",
                      slow.size(), some(slow)));
    constexpr char kInstead[] = "static_w8a8 with a few samples (--data) serves this model better";
    const std::size_t harmed = depthwise_.size() + gated_.size(), all = harmed + dense_.size();
    // A patch embedding in front of a transformer is no reason to worry.
    const auto products =
        std::count_if(plans_.begin(), plans_.end(), [](const Plan& each) { return each.form == Form::product; });
    if (std::ssize(left_) > products)
      notes.push_back(fmt::format("warning: {} of {} convolutions stay in float ({}){}: {}", left_.size(), all, some(left_),
                                  recipe_.target == Target::zeropoint
                                      ? ""
                                      : ", which runtimes other than zeropoint compute faster than dynamic integers",
                                  kInstead));
    if (left_.size() < all && !depthwise_.empty() && left_.empty())
      notes.push_back(fmt::format("warning: {} depthwise convolutions ({}) with dynamic ranges lose accuracy and are slow: {}",
                                  depthwise_.size(), some(depthwise_), kInstead));
    if (left_.size() < all && !gated_.empty() && left_.empty())
      notes.push_back(fmt::format("warning: {} gated convolutions ({}): one large value of a gate decides the range of all: {}",
                                  gated_.size(), some(gated_), kInstead));
    return notes;
  }

  void raise_opset() {
    passes::OpsetNeed most;
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      const Form form = plans_[i].form;
      passes::OpsetNeed need;
      if (form == Form::product || form == Form::convolution || form == Form::scores) {
        need = {kOpsetOfDynamic, describe(graph_.nodes[i]), "quantizers with ranges at run time", "leave it in float"};
      } else if (form == Form::weights) {
        const Scheme& scheme = *rule_of(graph_.nodes[i])->weight;
        need = passes::opset_of_quantizer("", scheme.dtype, scheme.granularity);
        need.opset = std::max(need.opset, kOpsetOfChannels);
        need.where = describe(graph_.nodes[i]);
      }
      if (need.opset > most.opset) most = std::move(need);
    }
    if (most.opset > 0) passes::raise_opset(graph_, most, opset_limit(recipe_.target));
  }

  // --- names ---
  std::string fresh(const std::string& base, DType dtype = DType::undefined, std::optional<Shape> shape = std::nullopt) {
    const std::string name = names_->take(base);
    if (dtype != DType::undefined) graph_.types[name] = {dtype, std::move(shape)};
    return name;
  }
  std::string add_constant(const std::string& base, Tensor tensor) {
    std::string name = names_->take(base);
    graph_.initializers.emplace(name, std::move(tensor));
    return name;
  }
  Node& add_node(const std::string& op_type, const std::string& node_name, std::vector<std::string> inputs,
                 std::vector<std::string> outputs) {
    Node node;
    node.op_type = op_type;
    node.name = node_names_->take(node_name);
    node.inputs = std::move(inputs);
    node.outputs = std::move(outputs);
    nodes_.push_back(std::move(node));
    return nodes_.back();
  }

  // --- weights ---
  // Integers of an initializer, stored once for all nodes that want the same form of it.
  struct Stored {
    std::string q, scale, zero_point;  // names; zero_point "" where symmetric
  };
  enum class Order : std::uint8_t { as_is, transposed, joined, joined_transposed };  // joined: [D, M, N] as [D * M, N]
  Stored store(const std::string& w, const Scheme& scheme, std::int64_t axis, Order order = Order::as_is, float factor = 1,
               Dims scale_dims = {}) {
    const std::string key =
        fmt::format("{} {} {} {} {} {} {} {} {} {}", w, name(scheme.dtype), scheme.bits, scheme.power_of_two,
                    scheme.granularity.index(),
                    std::holds_alternative<PerGroup>(scheme.granularity) ? std::get<PerGroup>(scheme.granularity).size : 0,
                    scheme.symmetric, axis, static_cast<int>(order), factor) +
        scheme.range + to_string(scale_dims);
    if (const auto found = stored_.find(key); found != stored_.end()) return found->second;
    Tensor weight = *graph_.constant(w);
    const Dims dims = weight.dims();
    const bool joined = order == Order::joined || order == Order::joined_transposed;
    if (joined) weight = weight.reshaped({dims[0] * dims[1], dims[2]});
    IntegerWeight integers;
    try {
      integers = quantize_weight(weight, scheme, axis, factor, threads_);
    } catch (const Error& error) {
      if (!error.where.empty()) throw;
      throw Error(error.code, fmt::format("initializer '{}'", w), error.what());
    }
    if (order == Order::transposed) integers.q = transposed_bytes(integers.q);
    if (order == Order::joined_transposed) {  // [D * M, N] -> [D, N, M]
      Tensor all(integers.q.dtype(), {dims[0], dims[2], dims[1]});
      const std::size_t each = all.bytes().size() / static_cast<std::size_t>(dims[0]);
      for (std::int64_t d = 0; d < dims[0]; ++d) {
        const auto at = static_cast<std::size_t>(d) * each;
        const Tensor part = transposed_bytes(
            Tensor::borrow(integers.q.dtype(), {dims[1], dims[2]}, integers.q.bytes().subspan(at, each), nullptr));
        std::copy(part.bytes().begin(), part.bytes().end(), all.mutable_bytes().begin() + static_cast<std::ptrdiff_t>(at));
      }
      integers.q = std::move(all);
    }
    if (!scale_dims.empty()) {
      integers.scale = integers.scale.reshaped(scale_dims);
      if (integers.zero_point.defined()) integers.zero_point = integers.zero_point.reshaped(scale_dims);
    }
    Stored stored;
    stored.q = add_constant(w + "_quantized", spilled(std::move(integers.q)));
    stored.scale = add_constant(w + "_scale", spilled(std::move(integers.scale)));
    if (integers.zero_point.defined())
      stored.zero_point = add_constant(w + "_zero_point", spilled(std::move(integers.zero_point)));
    return stored_[key] = stored;
  }

  // Large tensors leave memory as soon as they are made.
  Tensor spilled(Tensor tensor) {
    constexpr std::size_t kSmall = std::size_t{1} << 20;
    if (tensor.bytes().size() < kSmall) return tensor;
    std::shared_ptr<const std::byte> copy = spill_.copy(tensor.bytes());
    const std::span<const std::byte> bytes(copy.get(), tensor.bytes().size());
    return Tensor::borrow(tensor.dtype(), tensor.dims(), bytes, std::move(copy));
  }

  // --- activations ---
  struct Activation {
    std::string q, scale, zero_point;
  };
  const Activation& quantized(const std::string& x) {
    const auto found = activations_.find(x);
    if (found != activations_.end()) return found->second;
    Activation made;
    made.q = fresh(x + "_quantized", DType::u8, type_of(x).shape);
    made.scale = fresh(x + "_scale", DType::f32, Shape{});
    made.zero_point = fresh(x + "_zero_point", DType::u8, Shape{});
    add_node("DynamicQuantizeLinear", x + "_dynamic_quantize", {x}, {made.q, made.scale, made.zero_point});
    return activations_[x] = made;
  }
  bool by_rows(const std::string& x, Rows rows) const {
    if (rows != Rows::gated) return rows == Rows::all;
    if (recipe_.target == Target::zeropoint) return true;  // products quantize the rows they read
    // Through scalar factors and movements, up to a product of two computed values.
    std::string value = x;
    for (int depth = 0; depth < 6; ++depth) {
      const auto found = uses_.producer.find(value);
      if (found == uses_.producer.end()) return false;
      const Node& node = original_[found->second];
      if (node.is("Gelu") || (node.domain == kMicrosoft && (node.op_type == "Gelu" || node.op_type == "FastGelu"))) return true;
      const bool first = !graph_.constant(node.input(0)) && !is_constant_node(node.input(0));
      const bool second = !node.input(1).empty() && !graph_.constant(node.input(1)) && !is_constant_node(node.input(1));
      if (node.is("Mul") && first && second) return true;
      if (!node.is("Mul") && !node.is("Div") && !node.is("Reshape") && !node.is("Transpose")) return false;
      value = node.input(first ? 0 : 1);
    }
    return false;
  }
  bool is_constant_node(const std::string& value) const {
    const auto found = uses_.producer.find(value);
    return found != uses_.producer.end() && original_[found->second].is("Constant");
  }
  // Numbers that share a scale, in standard operators. Rows lie along the last axis, columns along the one before it:
  // scale = max(max |x| / 127, tiny), q = saturate(round(x / scale) + 128). Shares are rows of a softmax, which are not
  // negative: scale = max(max x / 255, tiny), q = saturate(round(x / scale)).
  enum class Sets : std::uint8_t { rows, columns, shares };
  const Activation& quantized_rows(const std::string& x, Sets sets = Sets::rows) {
    const auto found = row_activations_.find({x, sets});
    if (found != row_activations_.end()) return found->second;
    const std::optional<Shape> shape = type_of(x).shape;
    std::optional<Shape> ones = shape;
    const std::size_t from_end = sets == Sets::columns ? 2 : 1;
    if (ones && ones->size() >= from_end) (*ones)[ones->size() - from_end] = 1;
    const std::string kind = sets == Sets::columns ? "_column" : "_row";
    Activation made;
    const std::string most = fresh(x + kind + "_largest", DType::f32, ones), step = fresh(x + kind + "_step", DType::f32, ones),
                      steps = fresh(x + kind + "_steps", DType::f32, shape);
    made.scale = fresh(x + kind + "_scale", DType::f32, ones);
    made.q = fresh(x + kind + "_quantized", DType::u8, shape);
    const auto constant = [&](const std::string& base, Tensor tensor) {
      std::string& name = row_constants_[base];
      if (name.empty()) name = add_constant(base, std::move(tensor));
      return name;
    };
    const bool shares = sets == Sets::shares;
    const std::string levels =
        shares ? constant("share_levels", Tensor::scalar(255.0F)) : constant("row_levels", Tensor::scalar(127.0F));
    const std::string least = constant("row_least_scale", Tensor::scalar(1.17549435e-38F)),
                      unit = constant("row_unit", Tensor::scalar(1.0F));
    made.zero_point = shares ? constant("share_zero_point", Tensor::scalar(std::uint8_t{0}))
                             : constant("row_zero_point", Tensor::scalar(std::uint8_t{128}));
    std::string magnitude = x;
    if (!shares) {
      magnitude = fresh(x + kind + "_magnitude", DType::f32, shape);
      add_node("Abs", x + kind + "_magnitudes", {x}, {magnitude});
    }
    Node& reduce = add_node("ReduceMax", x + kind + "_most", {magnitude}, {most});
    reduce.attributes["keepdims"] = std::int64_t{1};
    const std::int64_t axis = -static_cast<std::int64_t>(from_end);
    if (graph_.opset() >= 18)
      reduce.inputs.push_back(constant(axis == -1 ? "last_axis" : "axis_before_last", Tensor::of_ints({axis})));
    else
      reduce.attributes["axes"] = std::vector<std::int64_t>{axis};
    add_node("Div", x + kind + "_step", {most, levels}, {step});
    add_node("Max", x + kind + "_scales", {step, least}, {made.scale});
    add_node("Div", x + kind + "_divide", {x, made.scale}, {steps});
    add_node("QuantizeLinear", x + kind + "_quantize", {steps, unit, made.zero_point}, {made.q});
    return row_activations_[{x, sets}] = made;
  }

  // --- forms ---
  void rewrite(const Node& node, Form form) {
    switch (form) {
      case Form::none:
      case Form::left:  // became none
        nodes_.push_back(node);
        break;
      case Form::product:
        write_product(node);
        break;
      case Form::convolution:
        write_convolution(node);
        break;
      case Form::lstm:
        write_lstm(node);
        break;
      case Form::weights:
        write_weights(node);
        break;
      case Form::rows:
        write_rows(node);
        break;
      case Form::scores:
        write_activations(node, Sets::rows);
        break;
      case Form::values:
        write_activations(node, Sets::shares);
        break;
    }
  }

  // acc (s32) -> f32 -> times the product of both scales -> `y`. The names and the order of operands are those that ONNX
  // Runtime fuses into DynamicQuantizeMatMul and MatMulIntegerToFloat.
  void write_rescale(const std::string& base, const std::string& acc, const std::string& x_scale, const Stored& w,
                     const std::string& y, const std::optional<Shape>& shape, bool per_row) {
    const std::string real = fresh(y + "_sums", DType::f32, shape);
    add_node("Cast", base + "_cast", {acc}, {real}).attributes["to"] = kFloatCode;
    if (per_row) {  // (sums * row's scale) * column's scale: a product of both would be a matrix
      const std::string half = fresh(y + "_row_scaled", DType::f32, shape);
      add_node("Mul", base + "_row_rescale", {real, x_scale}, {half});
      add_node("Mul", base + "_rescale", {half, w.scale}, {y});
      return;
    }
    const std::string scales = fresh(y + "_scales", DType::f32, to_shape(graph_.constant(w.scale)->dims()));
    add_node("Mul", base + "_scales", {x_scale, w.scale}, {scales});
    add_node("Mul", base + "_rescale", {real, scales}, {y});
  }

  void write_product(const Node& node) {
    const Rule& rule = *rule_of(node);
    const bool gemm = node.is("Gemm"), transposed = gemm && node.get_int("transB", 0) != 0;
    const float alpha = gemm ? node.get_float("alpha", 1) : 1, beta = gemm ? node.get_float("beta", 1) : 1;
    const bool rows = by_rows(node.input(0), rule.activation->rows);
    const Stored w =
        store(node.input(1), *rule.weight, transposed ? 0 : 1, transposed ? Order::transposed : Order::as_is, alpha);
    const Activation x = rows ? quantized_rows(node.input(0)) : quantized(node.input(0));
    const std::string &y = node.outputs[0], base = name_of(node);
    const std::optional<Shape> shape = type_of(y).shape;
    const bool biased = gemm && !node.input(2).empty() && beta != 0;
    const std::string product = biased ? fresh(y + "_product", DType::f32, shape) : y;
    const std::string acc = fresh(y + "_integers", DType::s32, shape);
    std::vector<std::string> inputs = {x.q, w.q, x.zero_point, w.zero_point};
    while (inputs.back().empty()) inputs.pop_back();
    node_names_->give_back(node.name);
    add_node("MatMulInteger", base, std::move(inputs), {acc});
    write_rescale(base, acc, x.scale, w, product, shape, rows);
    if (biased) add_node("Add", base + "_bias", {product, scaled(node.input(2), beta)}, {y});
  }
  // A product of two activations: (sums * left row's scale) * right column's scale.
  void write_activations(const Node& node, Sets left) {
    const Activation a = quantized_rows(node.input(0), left), b = quantized_rows(node.input(1), Sets::columns);
    const std::string &y = node.outputs[0], base = name_of(node);
    const std::optional<Shape> shape = type_of(y).shape;
    const std::string acc = fresh(y + "_integers", DType::s32, shape);
    node_names_->give_back(node.name);
    add_node("MatMulInteger", base, {a.q, b.q, a.zero_point, b.zero_point}, {acc});
    write_rescale(base, acc, a.scale, {.q = b.q, .scale = b.scale, .zero_point = b.zero_point}, y, shape, true);
  }
  std::string scaled(const std::string& c, float beta) {
    if (beta == 1) return c;
    const std::string factor = add_constant(c + "_beta", Tensor::scalar(beta));
    const std::string result = fresh(c + "_scaled", DType::f32, type_of(c).shape);
    if (const Tensor* constant = f32_constant(c)) {
      Tensor values = *constant;
      for (float& value : values.mutable_values<float>()) value *= beta;
      return add_constant(c + "_scaled", std::move(values));
    }
    add_node("Mul", result, {c, factor}, {result});
    return result;
  }

  void write_convolution(const Node& node) {
    const Rule& rule = *rule_of(node);
    const Tensor& weight = *graph_.constant(node.input(1));
    Dims channels(weight.rank() - 1, 1);  // [O, 1, 1] meets [N, O, H, W]
    channels[0] = weight.dim(0);
    const bool per_channel = std::holds_alternative<PerChannel>(rule.weight->granularity);
    const Stored w = store(node.input(1), *rule.weight, 0, Order::as_is, 1, per_channel ? channels : Dims{});
    const Activation x = quantized(node.input(0));
    const std::string &y = node.outputs[0], base = name_of(node);
    const std::optional<Shape> shape = type_of(y).shape;
    const bool biased = !node.input(2).empty();
    const std::string product = biased ? fresh(y + "_product", DType::f32, shape) : y;
    const std::string acc = fresh(y + "_integers", DType::s32, shape);
    std::vector<std::string> inputs = {x.q, w.q, x.zero_point, w.zero_point};
    while (inputs.back().empty()) inputs.pop_back();
    node_names_->give_back(node.name);
    add_node("ConvInteger", base, std::move(inputs), {acc}).attributes = node.attributes;
    write_rescale(base, acc, x.scale, w, product, shape, false);
    if (!biased) return;
    std::string bias = node.input(2);
    if (const Tensor* constant = f32_constant(bias)) {
      bias = add_constant(bias + "_channels", constant->reshaped(channels));
    } else {
      const std::string to = add_constant(bias + "_shape", Tensor::of_ints(channels));
      const std::string reshaped = fresh(bias + "_channels", DType::f32, to_shape(channels));
      add_node("Reshape", reshaped, {bias, to}, {reshaped});
      bias = reshaped;
    }
    add_node("Add", base + "_bias", {product, bias}, {y});
  }

  // com.microsoft DynamicQuantizeLSTM: W [D, input, 4 * hidden] and R [D, hidden, 4 * hidden], transposed against ONNX's, each
  // with scales and zero points [D, 4 * hidden].
  void write_lstm(const Node& node) {
    const Scheme& scheme = *rule_of(node)->weight;
    const auto weights = [&](const std::string& w) {
      const Dims& dims = graph_.constant(w)->dims();
      Stored stored = store(w, scheme, 0, Order::joined_transposed, 1, {dims[0], dims[1]});
      if (stored.zero_point.empty())
        stored.zero_point = add_constant(w + "_zero_point", Tensor(scheme.dtype, {dims[0], dims[1]}));
      return stored;
    };
    const Stored w = weights(node.input(1)), r = weights(node.input(2));
    Node lstm = node;
    lstm.op_type = "DynamicQuantizeLSTM";
    lstm.domain = kMicrosoft;
    lstm.inputs.resize(8);
    lstm.inputs[1] = w.q;
    lstm.inputs[2] = r.q;
    lstm.inputs.insert(lstm.inputs.end(), {w.scale, w.zero_point, r.scale, r.zero_point});
    uses_microsoft_ = true;
    nodes_.push_back(std::move(lstm));
  }

  // The weights behind a DequantizeLinear.
  void write_weights(const Node& node) {
    const Scheme& scheme = *rule_of(node)->weight;
    Node changed = node;
    if (is_recurrent(node)) {
      for (const std::size_t input : {1, 2}) changed.inputs[input] = dequantized_recurrent(node.input(input), scheme);
    } else {
      const std::size_t input = node.is("MatMul") && !f32_constant(node.input(1)) ? 0 : weighted(node)->weight;
      const std::string& w = node.input(input);
      const auto rank = static_cast<std::int64_t>(graph_.constant(w)->rank());
      std::int64_t channels = 0, sums = 1;  // axes
      if (node.is("MatMul")) {
        channels = input == 1 ? rank - 1 : rank - 2;
        sums = input == 1 ? rank - 2 : rank - 1;
      } else if (node.is("Gemm")) {
        const bool transposed = node.get_int("transB", 0) != 0;
        channels = transposed ? 0 : 1;
        sums = transposed ? 1 : 0;
      } else if (node.is("ConvTranspose") || node.op_type == "Attention") {
        channels = 1;
        sums = 0;
      }
      changed.inputs[input] = dequantized(w, scheme, channels, sums);
    }
    nodes_.push_back(std::move(changed));
  }
  std::string dequantized(const std::string& w, Scheme scheme, std::int64_t channels, std::int64_t sums) {
    const Dims& dims = graph_.constant(w)->dims();
    auto* group = std::get_if<PerGroup>(&scheme.granularity);
    const std::int64_t axis = group ? sums : channels;
    // A group is no longer than the axis: ONNX wants ceil(length / block) scales, which one block is too.
    if (group) group->size = std::min(group->size, dims[static_cast<std::size_t>(sums)]);
    const Stored stored = store(w, scheme, axis);
    const std::string key = stored.q;
    if (const auto found = dequantized_.find(key); found != dequantized_.end()) return found->second;
    const std::string back = fresh(w + "_dequantized", DType::f32, to_shape(dims));
    std::vector<std::string> inputs = {stored.q, stored.scale};
    if (!stored.zero_point.empty()) inputs.push_back(stored.zero_point);
    Node& node = add_node("DequantizeLinear", w + "_dequantize", std::move(inputs), {back});
    if (!std::holds_alternative<PerTensor>(scheme.granularity)) node.attributes["axis"] = axis;
    if (group) node.attributes["block_size"] = group->size;
    return dequantized_[key] = back;
  }
  // [D, gates * hidden, N]: scales for each direction and gate's row. DequantizeLinear knows one axis, so both are joined
  // there.
  std::string dequantized_recurrent(const std::string& w, const Scheme& scheme) {
    const Dims dims = graph_.constant(w)->dims();
    if (std::holds_alternative<PerGroup>(scheme.granularity)) return dequantized(w, scheme, 1, 2);
    if (dims[0] == 1 || std::holds_alternative<PerTensor>(scheme.granularity)) return dequantized(w, scheme, 1, 2);
    const Stored stored = store(w, scheme, 0, Order::joined);
    if (const auto found = dequantized_.find(stored.q); found != dequantized_.end()) return found->second;
    const std::string rows = fresh(w + "_rows", DType::f32, Shape{Dim(dims[0] * dims[1]), Dim(dims[2])});
    const std::string back = fresh(w + "_dequantized", DType::f32, to_shape(dims));
    std::vector<std::string> inputs = {stored.q, stored.scale};
    if (!stored.zero_point.empty()) inputs.push_back(stored.zero_point);
    add_node("DequantizeLinear", w + "_dequantize", std::move(inputs), {rows}).attributes["axis"] = std::int64_t{0};
    add_node("Reshape", w + "_directions", {rows, add_constant(w + "_dims", Tensor::of_ints(dims))}, {back});
    return dequantized_[stored.q] = back;
  }

  // An embedding: only the rows that are looked up become real numbers. Gather(q), Gather(scale) -> Cast -> (Sub) -> Mul.
  void write_rows(const Node& node) {
    Scheme scheme = *rule_of(node)->weight;
    const std::string &table = node.input(0), &ids = node.input(1), &y = node.outputs[0], base = name_of(node);
    const std::optional<Shape> shape = type_of(y).shape;
    // Narrower tables would need an operator that standard ONNX has not: rows of 8 bits.
    if (bits(scheme.dtype) < 8) {
      scheme.dtype = lowest(scheme.dtype) < 0 ? DType::s8 : DType::u8;
      scheme.bits = 0;
    }
    const bool per_tensor = std::holds_alternative<PerTensor>(scheme.granularity);
    scheme.granularity = per_tensor ? Granularity(PerTensor{}) : Granularity(PerChannel{0});
    const std::int64_t rows = graph_.constant(table)->dim(0);
    const Stored w = store(table, scheme, 0, Order::as_is, 1, per_tensor ? Dims{} : Dims{rows, 1});
    const std::string q = fresh(y + "_integers", scheme.dtype, shape);
    node_names_->give_back(node.name);
    add_node("Gather", base, {w.q, ids}, {q}).attributes = node.attributes;
    if (per_tensor) {
      std::vector<std::string> inputs = {q, w.scale};
      if (!w.zero_point.empty()) inputs.push_back(w.zero_point);
      add_node("DequantizeLinear", base + "_dequantize", std::move(inputs), {y});
      return;
    }
    std::optional<Shape> column = shape;
    if (column) column->back() = 1;
    const std::string scales = fresh(y + "_scales", DType::f32, column);
    add_node("Gather", base + "_scales", {w.scale, ids}, {scales}).attributes = node.attributes;
    std::string real = fresh(y + "_steps", DType::f32, shape);
    add_node("Cast", base + "_cast", {q}, {real}).attributes["to"] = kFloatCode;
    if (!w.zero_point.empty()) {
      const std::string zero_points = fresh(y + "_zero_points", scheme.dtype, column),
                        zeros = fresh(y + "_zeros", DType::f32, column);
      add_node("Gather", base + "_zero_points", {w.zero_point, ids}, {zero_points}).attributes = node.attributes;
      add_node("Cast", base + "_zeros", {zero_points}, {zeros}).attributes["to"] = kFloatCode;
      const std::string centred = fresh(y + "_centred", DType::f32, shape);
      add_node("Sub", base + "_centre", {real, zeros}, {centred});
      real = centred;
    }
    add_node("Mul", base + "_rescale", {real, scales}, {y});
  }

  Graph graph_;
  const Recipe& recipe_;
  RuleMatcher matcher_;
  Uses uses_;
  int threads_;
  Spill spill_;
  Graph typed_;  // every type that can be known, no nodes
  std::optional<ValueIndex> types_;
  std::vector<Plan> plans_;
  std::optional<NamePool> names_, node_names_;      // once the opset is what it has to be
  std::vector<Node> original_, nodes_;              // before and after
  std::map<std::string, Stored> stored_;            // by initializer and form
  std::map<std::string, std::string> dequantized_;  // by the name of the integers
  std::map<std::string, Activation> activations_;   // by value
  std::map<std::pair<std::string, Sets>, Activation> row_activations_;
  std::map<std::string, std::string> row_constants_;           // of quantized_rows
  std::vector<std::string> depthwise_, gated_, dense_, left_;  // convolutions that dynamic ranges harm
  bool uses_microsoft_ = false;
};

}  // namespace

WithoutData quantize_without_data(Graph graph, const Recipe& recipe, int threads, const std::filesystem::path& folder) {
  return Rewriter(std::move(graph), recipe, threads, folder).run();
}

WithoutData forecast_without_data(const Graph& graph, const Recipe& recipe) {
  return Rewriter(graph, recipe, 1, {}).forecast();
}

Recipe static_part(const Recipe& recipe) {
  Recipe result = recipe;
  for (Rule& rule : result.rules)
    if (!rule.activation || rule.activation->dynamic) {
      rule.activation.reset();
      rule.weight.reset();
    }
  return result;
}

}  // namespace zeropoint::quant
