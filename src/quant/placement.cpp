#include "quant/placement.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "ops/operator.h"
#include "quant/choose_by_speed.h"
#include "quant/costs.h"
#include "quant/operator_rules.h"
#include "quant/rule_matcher.h"
#include "zeropoint/error.h"

namespace zeropoint::quant {
namespace {

constexpr std::array<std::string_view, 9> kQuantizedOperators = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
                                                                 "QLinearConv",    "QLinearMatMul",    "ConvInteger",
                                                                 "MatMulInteger",  "QLinearAdd",       "QGemm"};

constexpr std::int64_t kLeastRow = 16, kLeastTable = 1024;  // elements
constexpr int kGateAxis = 1;                                // of the weights of LSTM, GRU and RNN: [directions, gates, inputs]

// What a value is known to lie in because of the operator that made it.
struct Bounds {
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
  friend bool operator==(const Bounds&, const Bounds&) = default;
};

class Placer {
 public:
  // `slower`: nodes that stay in float for their speed, with the reason.
  Placer(const Graph& graph, const Recipe& recipe, const std::map<std::string, std::string>& slower)
      : graph_(graph), values_(graph), recipe_(recipe), slower_(slower), matcher_(recipe), uses_(find_uses(graph)) {
    for (const Node& node : graph.nodes) operator_rules_.push_back(&rule_of_operator(graph, node));
    for (const Node& node : graph.nodes) {
      for (const auto& [key, attribute] : node.attributes)
        if (const auto* body = std::get_if<std::shared_ptr<const Graph>>(&attribute); body && *body)
          read_again_.merge(outer_names(**body));
      if (node.inputs.size() < 2) continue;
      std::vector<std::string_view> inputs(node.inputs.begin(), node.inputs.end());
      std::sort(inputs.begin(), inputs.end());
      for (auto twin = inputs.begin(); (twin = std::adjacent_find(twin, inputs.end())) != inputs.end(); ++twin)
        read_again_.emplace(*twin);
    }
  }

  Placement run() {
    check_not_quantized();
    choose_rules();
    find_weighted();
    grow();
    Placement placement;
    placement.integer_nodes.assign(weighted_.begin(), weighted_.end());
    placement.groups = tie_groups();
    placement.weights = std::move(weights_);
    placement.left_in_float = left_in_float();
    return placement;
  }

 private:
  // --- the graph ---
  const OperatorRule& operator_rule(const Node& node) const { return *operator_rules_[index_of(node)]; }
  Role role_of(const Node& node) const { return operator_rule(node).role; }
  bool is_output(const std::string& value) const { return values_.is_output(value); }
  TensorType type_of(const std::string& value) const { return values_.type_of(value); }
  bool is_f32(const std::string& value) const { return type_of(value).dtype == DType::f32; }
  bool is_computed_f32(const std::string& value) const { return !value.empty() && !graph_.constant(value) && is_f32(value); }
  const Node* producer(const std::string& value) const {
    const auto found = uses_.producer.find(value);
    return found == uses_.producer.end() ? nullptr : &graph_.nodes[found->second];
  }
  // The one reader of a value that nothing else sees; else null.
  const Node* sole_reader(const std::string& value) const {
    if (is_output(value) || read_again_.contains(value)) return nullptr;
    const auto found = uses_.consumers.find(value);
    if (found == uses_.consumers.end() || found->second.size() != 1) return nullptr;
    return &graph_.nodes[found->second.front()];
  }
  // The value behind the Relu or Clip that belongs to the operator that makes `value`.
  std::string behind_activation(const std::string& value) const {
    const Node* reader = sole_reader(value);
    return reader && role_of(*reader) == Role::activation && reader->input(0) == value ? reader->outputs[0] : value;
  }
  // The value at which the quantizer behind a node stands.
  std::string result_of(const Node& node) const {
    if (node.is("MatMul") && !bias_of(graph_, values_, uses_, node).empty())
      return behind_activation(sole_reader(node.outputs[0])->outputs[0]);
    return behind_activation(node.outputs[0]);
  }

  // --- rules ---
  void check_not_quantized() const {
    for (const Node& node : graph_.nodes)
      if (std::find(kQuantizedOperators.begin(), kQuantizedOperators.end(), node.op_type) != kQuantizedOperators.end())
        throw Error(ErrorCode::kUnsupported, describe(node), "the model is quantized already; start from the float model");
  }
  void choose_rules() {
    rules_.reserve(graph_.nodes.size());
    for (const Node& node : graph_.nodes) rules_.push_back(matcher_.last_match(node));
  }
  std::size_t index_of(const Node& node) const { return static_cast<std::size_t>(&node - graph_.nodes.data()); }
  const Rule* rule_of(const Node& node) const {
    const std::optional<std::size_t>& rule = rules_[index_of(node)];
    return rule ? &recipe_.rules[*rule] : nullptr;
  }
  bool wants_activation(const Node& node) const {
    const Rule* rule = rule_of(node);
    return rule && rule->activation && !why_slower(node);
  }
  const std::string* why_slower(const Node& node) const {
    if (slower_.empty()) return nullptr;
    const auto found = slower_.find(name_of(node));
    return found == slower_.end() ? nullptr : &found->second;
  }
  std::string why_by_rules(const Node& node) const {
    const std::optional<std::size_t>& rule = rules_[index_of(node)];
    if (!rule) return "no rule of the recipe matches it";
    const Rule& matched = recipe_.rules[*rule];
    const std::string which = fmt::format("rule {} of the recipe (scope '{}')", *rule, matched.scope);
    if (!matched.activation && !matched.weight) return which + " keeps it in float";
    return fmt::format("{} has no scheme for its {}", which, matched.activation ? "weights" : "activations");
  }

  // --- weights ---
  // Why a node cannot work in integers; empty when it can.
  std::string obstacle(const Node& node) const {
    const Rule* rule = rule_of(node);
    const std::string &x = node.input(0), &w = node.input(1);
    const Tensor* weight = graph_.constant(w);
    if (!rule || !rule->activation || (weight && !rule->weight)) return why_by_rules(node);
    if (const std::string* reason = why_slower(node)) return *reason;
    if (graph_.constant(x)) return "its first input is a constant: integer kernels take weights as the second";
    if (!is_computed_f32(x)) return not_f32(x);
    if (!weight && !node.is("MatMul")) return "its weights are computed, not constant";
    if (!weight) return is_f32(w) ? "" : not_f32(w);
    if (weight->dtype() != DType::f32) return not_f32(w);
    if (weight->size() == 0) return "its weights are empty";
    const bool ranks_fit = node.is("Conv") || node.is("ConvTranspose") ? weight->rank() >= 3
                           : node.is("MatMul")                         ? weight->rank() >= 2
                                                                       : weight->rank() == 2;
    if (!ranks_fit) return fmt::format("its weights have {} dimensions", weight->rank());
    if (node.is("Gemm")) {
      if (node.get_int("transA", 0) != 0) return "its first input is transposed (transA)";
      for (const char* factor : {"alpha", "beta"})
        if (const float value = node.get_float(factor, 1.0F); value != 1.0F && (factor[0] == 'a' || !node.input(2).empty()))
          return fmt::format("{} = {}: fold it into the constants", factor, value);
    }
    return obstacle_of_bias(node, output_channels(node, *weight));
  }
  std::string not_f32(const std::string& value) const {
    const DType dtype = type_of(value).dtype;
    if (dtype == DType::undefined) return fmt::format("the type of '{}' is unknown", value);
    const bool half = dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
    return fmt::format("'{}' is {}, not f32{}", value, name(dtype), half ? ": export the model in float32 to quantize it" : "");
  }
  std::string obstacle_of_bias(const Node& node, std::int64_t channels) const {
    if (node.is("MatMul") || node.input(2).empty()) return "";
    const Tensor* bias = graph_.constant(node.input(2));
    if (!bias) return "its bias is computed, not constant";
    if (bias->dtype() != DType::f32) return not_f32(node.input(2));
    const bool one_each = bias->size() == channels && bias->rank() >= 1 && bias->dims().back() == channels;
    if (!one_each && bias->size() != 1) return fmt::format("its bias has the shape {}", to_string(bias->dims()));
    return "";
  }
  // Why the weights of an LSTM, GRU or RNN, or the table of a Gather, cannot be stored as integers.
  std::string obstacle_of_storing(const Node& node) const {
    const Rule* rule = rule_of(node);
    if (!rule || !rule->weight) return why_by_rules(node);
    if (role_of(node) == Role::lookup) {
      const Tensor& table = *graph_.constant(node.input(0));
      if (table.dtype() != DType::f32) return not_f32(node.input(0));
      if (node.get_int("axis", 0) != 0 || table.rank() != 2) return "its constant is no table of rows";
      // A scale a row weighs 4 bytes; the row saves 3 an element.
      if (table.dim(1) < kLeastRow || table.size() < kLeastTable) return "its table is too small to gain from 8 bits";
      return "";
    }
    if (!takes(operator_rule(node), recipe_.target))
      return fmt::format("{} takes its weights only as constants in float", name(recipe_.target));
    for (const std::size_t i : {std::size_t{1}, std::size_t{2}}) {
      const Tensor* weight = graph_.constant(node.input(i));
      if (!weight) return "its weights are computed, not constant";
      if (weight->dtype() != DType::f32) return not_f32(node.input(i));
      if (weight->rank() != 3 || weight->size() == 0)
        return fmt::format("its weights have the shape {}", to_string(weight->dims()));
    }
    return "";
  }
  // Inputs of a node that are weights.
  std::vector<std::size_t> weight_inputs(const Node& node) const {
    switch (role_of(node)) {
      case Role::weighted:
        return {1};
      case Role::recurrent:
        return {1, 2};
      case Role::lookup:
        return {0};
      default:
        return {};
    }
  }
  bool holds_weights(std::size_t node) const { return weighted_.contains(node) || stored_.contains(node); }
  int axis_of(const Node& node, const Tensor& weight) const {
    const Role role = role_of(node);
    return role == Role::weighted ? channel_axis(node, weight) : (role == Role::recurrent ? kGateAxis : 0);
  }
  void find_weighted() {
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      const Role role = role_of(node);
      if (role != Role::weighted && role != Role::recurrent && role != Role::lookup) continue;
      if (std::string why = role == Role::weighted ? obstacle(node) : obstacle_of_storing(node); !why.empty())
        obstacles_[i] = std::move(why);
      else
        (role == Role::weighted ? weighted_ : stored_).insert(i);
    }
    // A constant exists once: nodes that share it must agree on it. Who gives up may take others along.
    std::vector<std::size_t> open(weighted_.begin(), weighted_.end());
    open.insert(open.end(), stored_.begin(), stored_.end());
    std::set<std::string_view> agreed;  // constants whose readers all agree: many nodes may share one
    while (!open.empty()) {
      std::vector<std::size_t> again;
      std::set<std::string_view> spread;  // constants whose readers are in `again`
      for (const std::size_t i : open) {
        if (!holds_weights(i)) continue;
        const Node& node = graph_.nodes[i];
        std::string why = obstacle_of_sharing(node, agreed);
        if (why.empty()) {
          for (const std::size_t input : weight_inputs(node)) agreed.insert(node.input(input));
          continue;
        }
        obstacles_[i] = std::move(why);
        weighted_.erase(i);
        stored_.erase(i);
        for (const std::size_t input : weight_inputs(node)) {
          const std::string& w = node.input(input);
          agreed.erase(w);
          const auto readers = uses_.consumers.find(w);
          if (readers != uses_.consumers.end() && spread.insert(w).second)
            again.insert(again.end(), readers->second.begin(), readers->second.end());
        }
      }
      open = std::move(again);
    }
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      if (!holds_weights(i)) continue;
      const Node& node = graph_.nodes[i];
      for (const std::size_t input : weight_inputs(node)) {
        const Tensor* constant = graph_.constant(node.input(input));
        if (!constant) continue;
        QuantizedWeight& weight = weights_[node.input(input)];
        if (weight.nodes.empty()) {
          const Role role = role_of(node);
          weight.scheme = *rule_of(node)->weight;
          weight.axis = axis_of(node, *constant);
          weight.use =
              role == Role::weighted ? WeightUse::sums : (role == Role::recurrent ? WeightUse::stored : WeightUse::rows);
          // Gather and Cast take no integers narrower than a byte.
          if (role == Role::lookup && bits(weight.scheme.dtype) < 8) {
            weight.scheme.dtype = lowest(weight.scheme.dtype) < 0 ? DType::s8 : DType::u8;
            weight.scheme.bits = 0;
          }
          // ONNX Runtime refuses scales per channel of a product whose constant has three dimensions or more.
          if (role == Role::weighted && node.is("MatMul") && constant->rank() > 2) weight.scheme.granularity = PerTensor{};
        }
        if (weight.nodes.empty() || weight.nodes.back() != i) weight.nodes.push_back(i);
      }
    }
  }
  std::string obstacle_of_sharing(const Node& node, const std::set<std::string_view>& agreed) const {
    for (const std::size_t input : weight_inputs(node)) {
      const std::string& w = node.input(input);
      const Tensor* weight = graph_.constant(w);
      if (!weight || agreed.contains(w)) continue;
      if (is_output(w)) return fmt::format("its weights '{}' are an output of the graph", w);
      for (const std::size_t reader : uses_.consumers.find(w)->second) {
        const Node& other = graph_.nodes[reader];
        const std::vector<std::size_t> slots = weight_inputs(other);
        const bool as_weight =
            holds_weights(reader) && role_of(other) == role_of(node) &&
            std::any_of(slots.begin(), slots.end(), [&](std::size_t slot) { return other.input(slot) == w; }) &&
            std::count(other.inputs.begin(), other.inputs.end(), w) == 1;
        if (!as_weight)
          return fmt::format("its weights '{}' are also read by {}, which needs them in float", w, describe(other));
        if (axis_of(other, *weight) != axis_of(node, *weight) || other.is("ConvTranspose") != node.is("ConvTranspose"))
          return fmt::format("its weights '{}' have other output channels in {}", w, describe(other));
      }
    }
    return "";
  }

  // --- growth: from the weighted operators to their neighbours, until nothing changes ---
  void grow() {
    if (weighted_.empty()) return;
    for (const std::size_t i : weighted_) {
      const Node& node = graph_.nodes[i];
      quantize(node.input(0));
      if (!graph_.constant(node.input(1))) quantize(node.input(1));
      const std::string result = result_of(node);
      in_integers(result);
      // A convolution without a quantizer behind it runs in float in ONNX Runtime, even at the graph's end; a matrix product
      // does not, and its quantizer would only cost accuracy unless a reader works in integers.
      if (node.is("Conv")) quantize(result);
    }
    // Rounds over the nodes in order. A node says something new only after a value that it reads or makes has changed.
    open_.assign(graph_.nodes.size(), true);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) join_if_open(i);
    while (!next_.empty()) {
      for (const std::size_t i : std::exchange(next_, {})) round_.insert(i);
      while (!round_.empty()) join_if_open(round_.extract(round_.begin()).value());
    }
  }
  void join_if_open(std::size_t i) {
    if (!open_[i]) return;
    open_[i] = false;
    now_ = i;
    join(graph_.nodes[i]);
  }
  // The nodes around a value are asked again: in this round those behind the present one, the others in the next.
  void reopen(const std::string& value) {
    if (open_.empty()) return;  // before the first round
    const auto again = [&](std::size_t i) {
      if (open_[i]) return;
      open_[i] = true;
      if (i > now_)
        round_.insert(i);
      else
        next_.push_back(i);
    };
    if (const auto found = uses_.producer.find(value); found != uses_.producer.end()) again(found->second);
    if (const auto found = uses_.consumers.find(value); found != uses_.consumers.end())
      for (const std::size_t i : found->second) again(i);
  }
  void quantize(const std::string& value) {
    if (quantized_.insert(value).second) reopen(value);
  }
  void in_integers(const std::string& value) {
    if (integer_.insert(value).second) reopen(value);
  }
  // What integer arithmetic makes. The result of a matrix product that no reader wants quantized is not: in transformers its
  // quantizer, and those of the residual Adds behind, would cost time and accuracy (docs/passes/insert_qdq.md).
  bool comes_in_integers(const std::string& value) const { return quantized_.contains(value) && integer_.contains(value); }
  void join(const Node& node) {
    const OperatorRule& rule = operator_rule(node);
    const Role role = rule.role;
    if (role == Role::none || role == Role::weighted || role == Role::recurrent || role == Role::lookup ||
        tied_.contains(index_of(node)) || !wants_activation(node))
      return;
    const std::string &x = node.input(0), &y = node.outputs[0];
    if (!is_computed_f32(x) || !is_f32(y)) return;
    const bool runs_in_integers = takes(rule, recipe_.target);
    switch (role) {
      case Role::elementwise: {
        const std::string result = behind_activation(y);
        if (!is_computed_f32(node.input(1)) || is_bias_add(node) || is_output(result)) return;
        if (!comes_in_integers(x) && !comes_in_integers(node.input(1))) return;
        quantize(x);
        quantize(node.input(1));
        quantize(result);
        in_integers(result);
        break;
      }
      case Role::pool:
      case Role::function:
      case Role::activation:
        if (is_output(y) || !comes_in_integers(x)) return;
        if (role == Role::activation && belongs_to_operator(node)) return;
        if (!runs_in_integers && !quantized_.contains(y)) return;
        quantize(y);
        in_integers(y);
        break;
      case Role::shared:
        join_shared(node, runs_in_integers);
        break;
      case Role::concat:
        join_concat(node);
        break;
      default:
        break;
    }
  }
  // Where the target moves 8-bit values, quantizers spread over the node, forwards and backwards; elsewhere it takes part when
  // both sides are quantized anyway.
  void join_shared(const Node& node, bool runs_in_integers) {
    const std::string& x = node.input(0);
    bool all_quantized = true;
    for (const std::string& y : node.outputs) {
      if (y.empty()) continue;
      if (is_output(y) || !is_f32(y)) return;
      if (uses_.consumers.contains(y)) all_quantized = all_quantized && quantized_.contains(y);
    }
    const bool forward = quantized_.contains(x), backward = all_quantized && sole_reader(x);
    if (runs_in_integers ? !(forward || backward) : !(forward && all_quantized)) return;
    quantize(x);
    for (const std::string& y : node.outputs) {
      if (y.empty()) continue;
      quantize(y);
      if (integer_.contains(x)) in_integers(y);
    }
    tied_.insert(index_of(node));
  }
  void join_concat(const Node& node) {
    const std::string& y = node.outputs[0];
    if (is_output(y)) return;
    bool any = false;
    for (const std::string& x : node.inputs) {
      if (!is_computed_f32(x)) return;
      any = any || comes_in_integers(x);
    }
    if (!any) return;
    for (const std::string& x : node.inputs) quantize(x);
    quantize(y);
    in_integers(y);
    // A Relu or Clip is fused only where the quantizer behind it implies it (zero point 0 behind a Relu). Sharing parameters
    // with values of other bounds would break that, so such inputs keep their own.
    const Bounds bounds = bounds_of(node.inputs[0]);
    for (const std::string& x : node.inputs)
      if (bounds_of(x) != bounds) return;
    tied_.insert(index_of(node));
  }
  bool is_bias_add(const Node& node) const {
    for (const std::string& x : node.inputs)
      if (const Node* made_by = producer(x);
          made_by && made_by->is("MatMul") && weighted_.contains(index_of(*made_by)) && sole_reader(x) == &node)
        return !bias_of(graph_, values_, uses_, *made_by).empty();
    return false;
  }
  // A Relu or Clip behind an operator that takes it in.
  bool belongs_to_operator(const Node& activation) const {
    const Node* before = producer(activation.input(0));
    if (!before || !sole_reader(activation.input(0))) return false;
    const Role role = role_of(*before);
    if (role == Role::weighted) return weighted_.contains(index_of(*before));
    return role == Role::elementwise && (is_bias_add(*before) || quantized_.contains(activation.outputs[0]));
  }
  Bounds bounds_of(const std::string& value) {
    if (bounds_.empty())
      for (const Node& node : graph_.nodes) bounds_.push_back(bounds_behind(node));
    return known_bounds(value);
  }
  Bounds known_bounds(const std::string& value) const {
    const auto found = uses_.producer.find(value);
    return found == uses_.producer.end() ? Bounds{} : bounds_[found->second];
  }
  // Those of the nodes before it are known.
  Bounds bounds_behind(const Node& node) const {
    if (role_of(node) == Role::shared) return known_bounds(node.input(0));
    Bounds bounds;
    if (node.is("Relu")) bounds.low = 0;
    if (node.is("Clip")) {
      const auto scalar = [&](std::size_t input, float otherwise) {
        const Tensor* constant = graph_.constant(node.input(input));
        return constant && constant->dtype() == DType::f32 && constant->size() == 1 ? constant->values<float>()[0] : otherwise;
      };
      bounds = {scalar(1, bounds.low), scalar(2, bounds.high)};
    }
    if (node.is("Concat") && !node.inputs.empty()) {
      bounds = known_bounds(node.inputs[0]);
      for (const std::string& x : node.inputs)
        if (known_bounds(x) != bounds) return {};
    }
    return bounds;
  }

  // --- ties ---
  std::vector<TieGroup> tie_groups() const {
    std::vector<std::string> values(quantized_.begin(), quantized_.end());
    std::map<std::string_view, std::size_t> index;
    for (std::size_t i = 0; i < values.size(); ++i) index[values[i]] = i;
    std::vector<std::size_t> parent(values.size());  // union-find
    std::iota(parent.begin(), parent.end(), std::size_t{0});
    const auto root = [&](std::size_t i) {
      while (parent[i] != i) i = parent[i] = parent[parent[i]];
      return i;
    };
    std::set<std::string> derived;  // values that hold nothing their sources don't
    for (const std::size_t i : tied_) {
      const Node& node = graph_.nodes[i];
      const bool concat = role_of(node) == Role::concat;
      const std::string& one = concat ? node.outputs[0] : node.input(0);
      for (const std::string& other : concat ? node.inputs : node.outputs) {
        if (other.empty()) continue;
        parent[root(index.at(other))] = root(index.at(one));
        derived.insert(other);
      }
    }
    std::map<std::size_t, TieGroup> by_root;
    for (std::size_t i = 0; i < values.size(); ++i) {
      TieGroup& group = by_root[root(i)];
      group.values.push_back(values[i]);
      if (!derived.contains(values[i])) group.sources.push_back(values[i]);
    }
    std::vector<TieGroup> groups;
    for (auto& [at, group] : by_root) {
      if (const Node* node = deciding_node(group.values)) {
        group.scheme = storable(*rule_of(*node)->activation, group.values);
        group.decided_by = index_of(*node);
      }
      // OpenVINO pays for zero points other than 0: signed values are better off as symmetric s8 there.
      group.prefers_signed = recipe_.target == Target::openvino && group.scheme.dtype == DType::u8 && !group.scheme.symmetric;
      groups.push_back(std::move(group));
    }
    std::sort(groups.begin(), groups.end(), [](const TieGroup& a, const TieGroup& b) { return a.values < b.values; });
    return groups;
  }
  // ONNX Runtime 1.32 refuses a file with a Clip right before a quantizer of 4 bits: there, the same levels in a byte.
  Scheme storable(Scheme scheme, const std::vector<std::string>& values) const {
    const bool clipped = scheme.bits != 0 || std::any_of(values.begin(), values.end(), [&](const std::string& value) {
                           const Node* maker = producer(value);
                           return maker && maker->is("Clip");
                         });
    if (recipe_.target != Target::onnxruntime || !clipped || bits(scheme.dtype) >= 8) return scheme;
    if (scheme.bits == 0) scheme.bits = bits(scheme.dtype);
    scheme.dtype = lowest(scheme.dtype) < 0 ? DType::s8 : DType::u8;
    return scheme;
  }
  // By the rule of the first weighted node that reads one of the values; else of the first other reader that has one; else of
  // the operator that makes them.
  const Node* deciding_node(const std::vector<std::string>& values) const {
    for (const bool weighted : {true, false})
      for (const std::string& value : values)
        if (const auto readers = uses_.consumers.find(value); readers != uses_.consumers.end())
          for (const std::size_t reader : readers->second) {
            const Node& node = graph_.nodes[reader];
            if ((weighted ? weighted_.contains(reader) : role_of(node) != Role::none) && wants_activation(node)) return &node;
          }
    for (const std::string& value : values)
      for (const Node* node = producer(value); node; node = producer(node->input(0))) {
        if (wants_activation(*node)) return node;
        if (role_of(*node) != Role::activation && role_of(*node) != Role::elementwise) break;
      }
    return nullptr;
  }

  // --- reasons ---
  std::vector<LeftInFloat> left_in_float() const {
    std::vector<LeftInFloat> result;
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (std::string reason = why_in_float(i, node); !reason.empty())
        result.push_back({name_of(node), node.op_type, std::move(reason)});
      add_bodies(node, result);
    }
    return result;
  }
  std::string why_in_float(std::size_t i, const Node& node) const {
    if (weighted_.contains(i) || tied_.contains(i)) return "";
    if (const auto found = obstacles_.find(i); found != obstacles_.end()) return found->second;
    const OperatorRule& rule = operator_rule(node);
    const Role role = rule.role;
    if (role == Role::lookup) return "";
    if (role == Role::recurrent)
      return fmt::format("{}; its weights are stored in 8 bits{}", rule.in_float,
                         node.is("LSTM") ? " (the recipe dynamic_w8a8 multiplies them in integers)" : "");
    if (node.inputs.empty()) return "";  // a constant
    const std::string* real = nullptr;
    for (const std::string& value : node.outputs)
      if (!real && !value.empty() && is_float(type_of(value).dtype)) real = &value;
    if (!real) return "";
    if (!is_f32(*real)) return not_f32(*real);
    if (role == Role::none) return std::string(rule.in_float);
    const std::string& y = node.outputs[0];
    const bool all_inputs = std::all_of(node.inputs.begin(), node.inputs.end(),
                                        [&](const std::string& x) { return !is_computed_f32(x) || quantized_.contains(x); });
    if (role == Role::elementwise && is_bias_add(node)) return "";
    if (role == Role::activation && belongs_to_operator(node)) return "";
    const bool between = all_inputs && quantized_.contains(behind_activation(y));
    if (between && role != Role::shared && takes(rule, recipe_.target)) return "";
    if (between && role == Role::function)
      return fmt::format("{} computes it in float between quantizers; zeropoint's engine by a table", name(recipe_.target));
    if (const std::string* reason = why_slower(node)) return *reason;
    if (!wants_activation(node)) return why_by_rules(node);
    if (is_output(behind_activation(y))) return "it makes an output of the graph";
    if (role == Role::elementwise && !(is_computed_f32(node.input(0)) && is_computed_f32(node.input(1))))
      return "one of its operands is a constant";
    if (!takes(rule, recipe_.target))
      return rule.in_float.empty() ? fmt::format("{} computes it in float", name(recipe_.target)) : std::string(rule.in_float);
    return "its input does not come in integers";
  }

  const Graph& graph_;
  const ValueIndex values_;
  std::set<std::string> read_again_;  // values that subgraphs read, or one node twice
  const Recipe& recipe_;
  const std::map<std::string, std::string>& slower_;
  RuleMatcher matcher_;
  Uses uses_;
  std::vector<const OperatorRule*> operator_rules_;  // by node
  std::vector<std::optional<std::size_t>> rules_;    // of the recipe, by node
  std::set<std::size_t> weighted_;                   // nodes that work in integers
  std::set<std::size_t> stored_;                     // nodes that only store their weights as integers
  std::map<std::size_t, std::string> obstacles_;     // of the other nodes with weights
  std::map<std::string, QuantizedWeight> weights_;
  std::set<std::string> quantized_;  // values with a quantizer
  std::set<std::string> integer_;    // values that integer arithmetic makes, when they have a quantizer
  std::set<std::size_t> tied_;       // nodes whose input(s) and output share parameters
  std::vector<Bounds> bounds_;       // by node; empty until asked for
  // The growth: nodes to ask again in this round and in the next, and the present one.
  std::vector<bool> open_;
  std::set<std::size_t> round_;
  std::vector<std::size_t> next_;
  std::size_t now_ = 0;
};

}  // namespace

int channel_axis(const Node& node, const Tensor& weight) {
  if (node.is("Conv")) return 0;
  if (node.is("ConvTranspose"))
    return node.get_int("group", 1) > 1 && weight.dim(1) == 1 && node.get_int("group", 1) == weight.dim(0) ? 0 : 1;
  if (node.is("Gemm")) return node.get_int("transB", 0) != 0 ? 0 : 1;
  return static_cast<int>(weight.rank()) - 1;
}

std::int64_t output_channels(const Node& node, const Tensor& weight) {
  const std::int64_t each = weight.dim(static_cast<std::size_t>(node.is("ConvTranspose") ? 1 : channel_axis(node, weight)));
  return node.is("ConvTranspose") ? each * node.get_int("group", 1) : each;
}

std::int64_t parameter_of_channel(const Node& node, const Tensor& weight, std::int64_t o) {
  return node.is("ConvTranspose") && channel_axis(node, weight) == 1 ? o % weight.dim(1) : o;
}

std::map<std::size_t, std::string> logits_of(const Graph& graph, const Placement& placement) {
  std::map<std::string_view, std::size_t> groups;
  for (std::size_t i = 0; i < placement.groups.size(); ++i)
    if (const std::string& range = placement.groups[i].scheme.range; range == "cross_entropy" || range == "auto")
      for (const std::string& value : placement.groups[i].values) groups.emplace(value, i);
  std::map<std::size_t, std::string> result;
  if (groups.empty()) return result;
  Graph typed = graph;
  ops::infer_shapes(typed);
  const Uses uses = find_uses(typed);
  const auto maker = [&](const std::string& value) -> const Node* {
    const auto found = uses.producer.find(value);
    return found == uses.producer.end() ? nullptr : &typed.nodes[found->second];
  };
  for (const ValueInfo& output : typed.outputs) {
    const Node* node = maker(output.name);
    std::string value = output.name;
    const bool softmax = node && (node->is("Softmax") || node->is("LogSoftmax"));
    if (softmax) value = node->input(0);
    const std::optional<Shape> shape = typed.type_of(value).shape;
    if (!shape || shape->size() < 2 || (!softmax && shape->size() != 2) || !shape->back().fixed() || shape->back().value < 2)
      continue;
    const auto last = static_cast<std::int64_t>(shape->size()) - 1;
    if (softmax)
      if (const std::int64_t axis = node->get_int("axis", typed.opset() < 13 ? 1 : -1); axis != -1 && axis != last) continue;
    // What stands between moves values only.
    for (std::string at = value; !at.empty();) {
      if (const auto group = groups.find(at); group != groups.end()) {
        result.emplace(group->second, value);
        break;
      }
      const Node* before = maker(at);
      const bool moves =
          before && (before->is("Flatten") || before->is("Reshape") || before->is("Squeeze") || before->is("Identity"));
      at = moves ? before->input(0) : "";
    }
  }
  return result;
}

std::string bias_of(const Graph& graph, const ValueIndex& values, const Uses& uses, const Node& node) {
  if (!node.is("MatMul")) return node.input(2);
  const Tensor* weight = graph.constant(node.input(1));
  const auto readers = uses.consumers.find(node.outputs[0]);
  if (!weight || weight->rank() != 2 || readers == uses.consumers.end() || readers->second.size() != 1 ||
      values.is_output(node.outputs[0]))
    return "";
  const Node& add = graph.nodes[readers->second.front()];
  if (!add.is("Add")) return "";
  const std::string& other = add.input(0) == node.outputs[0] ? add.input(1) : add.input(0);
  const Tensor* bias = graph.constant(other);
  const std::int64_t channels = weight->dim(1);
  const bool fits =
      bias && bias->dtype() == DType::f32 && bias->rank() >= 1 && bias->size() == channels && bias->dims().back() == channels;
  return fits ? other : "";
}

Placement place(const Graph& graph, const Recipe& recipe) {
  Graph typed = graph;
  ops::infer_shapes(typed);
  return place_typed(typed, recipe);
}

namespace {

// Times by the table of costs: the same on every machine.
class CostTable : public SpeedSource {
 public:
  CostTable(const Graph& graph, const Recipe& recipe) : graph_(graph), recipe_(recipe), costs_(graph) {}

  NodeTimes in_float() override { return costs_.in_float(); }
  NodeTimes quantized(const NodeNames& in_float) override { return costs_.quantized(placed(in_float)); }
  std::optional<std::pair<double, double>> compare(const NodeNames& before, const NodeNames& after) override {
    const Placement placement = placed(after);
    if (placement.integer_nodes.empty()) return std::nullopt;
    return std::pair(total(quantized(before)), total(costs_.quantized(placement)));
  }

 private:
  Placement placed(const NodeNames& in_float) const {
    std::map<std::string, std::string> slower;
    for (const std::string& node : in_float) slower.emplace(node, "slower in integers");
    return Placer(graph_, recipe_, slower).run();
  }
  static double total(const NodeTimes& times) {
    double sum = 0;
    for (const auto& [node, seconds] : times.seconds) sum += seconds;
    return sum;
  }

  const Graph& graph_;
  const Recipe& recipe_;
  NodeCosts costs_;
};

}  // namespace

Placement place_typed(const Graph& graph, const Recipe& recipe) {
  std::map<std::string, std::string> slower;
  constexpr std::size_t kMostJudged = 100'000;  // nodes; placing them several times would take longer than reading them
  if (recipe.target == Target::zeropoint && !recipe.all_integers && graph.nodes.size() <= kMostJudged) {
    CostTable costs(graph, recipe);
    for (const SlowerNode& node : choose_by_speed(costs))
      slower.emplace(node.node,
                     fmt::format("slower in integers by the table of costs: {:.1f} us with its conversions, {:.1f} in float",
                                 1e6 * node.integer_seconds, 1e6 * node.float_seconds));
  }
  Placement placement = Placer(graph, recipe, slower).run();
  for (const auto& [node, reason] : slower) placement.slower_in_integers.push_back(node);
  return placement;
}

std::string to_text(const Placement& placement, const Graph& graph) {
  std::string text;
  for (const TieGroup& group : placement.groups) {
    text += fmt::format("quantize {}: {}{} {}", fmt::join(group.values, " "), name(group.scheme.dtype),
                        group.scheme.symmetric ? " symmetric" : "", group.scheme.range);
    if (group.sources.size() != group.values.size()) text += fmt::format(" of {}", fmt::join(group.sources, " "));
    text += group.prefers_signed ? ", s8 when negative\n" : "\n";
  }
  for (const auto& [initializer, weight] : placement.weights) {
    const bool per_channel = std::holds_alternative<PerChannel>(weight.scheme.granularity);
    text +=
        fmt::format("weight {}: {}{} {}{}\n", initializer, name(weight.scheme.dtype),
                    weight.scheme.symmetric ? " symmetric" : "", weight.scheme.range,
                    (per_channel ? fmt::format(" axis {}", weight.axis) : "") + (weight.use == WeightUse::stored ? ", stored"
                                                                                 : weight.use == WeightUse::rows ? ", rows"
                                                                                                                 : ""));
  }
  for (const std::size_t node : placement.integer_nodes) text += fmt::format("integer {}\n", describe(graph.nodes[node]));
  for (const LeftInFloat& node : placement.left_in_float)
    text += fmt::format("float {} ({}): {}\n", node.node, node.op_type, node.reason);
  return text;
}

namespace {

void add_body_nodes(const Node& node, const std::string& reason, std::vector<LeftInFloat>& result) {
  for (const auto& [attribute, content] : node.attributes) {
    const auto* body = std::get_if<std::shared_ptr<const Graph>>(&content);
    if (!body || !*body) continue;
    const ValueIndex values(**body);
    for (const Node& inner : (*body)->nodes) {
      const bool unreal = std::all_of(inner.outputs.begin(), inner.outputs.end(), [&](const std::string& value) {
        const DType dtype = values.type_of(value).dtype;
        return value.empty() || (dtype != DType::undefined && !is_float(dtype));
      });
      if (!unreal && !inner.inputs.empty()) result.push_back({name_of(inner), inner.op_type, reason});
      add_body_nodes(inner, reason, result);
    }
  }
}

}  // namespace

void add_bodies(const Node& node, std::vector<LeftInFloat>& result) {
  if (!has_subgraph(node)) return;
  add_body_nodes(node, fmt::format("inside a body of {}: bodies stay in float", describe(node)), result);
}

}  // namespace zeropoint::quant
