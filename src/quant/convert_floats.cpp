#include "zeropoint/convert_floats.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "ir/names.h"
#include "numerics/float16.h"
#include "ops/operator.h"
#include "passes/raise_opset.h"
#include "quant/choose_qparams.h"
#include "quant/rule_matcher.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

constexpr float kMostOfF16 = 65504, kLeastOfF16 = 7.62939453125e-06F;  // 2^-17: 8 bits above the least subnormal, 2^-24
constexpr std::int64_t kOpsetOfBf16 = 22, kOpsetOfBf16Cast = 13;       // of Conv, pools, LSTM, ... in bf16
constexpr std::int64_t kLeastStored = 16;                              // elements: smaller constants save nothing
constexpr std::int64_t kF32Code = 1, kF16Code = 10, kBf16Code = 16;    // TensorProto.DataType

// Operators that take f16 and bf16 (the latter since opset 22) wherever they take f32.
constexpr std::string_view kInHalves[] = {"Abs",
                                          "Add",
                                          "ArgMax",
                                          "ArgMin",
                                          "AveragePool",
                                          "BatchNormalization",
                                          "Cast",
                                          "Ceil",
                                          "Celu",
                                          "Clip",
                                          "Concat",
                                          "Conv",
                                          "ConvTranspose",
                                          "Cos",
                                          "CumSum",
                                          "DepthToSpace",
                                          "Div",
                                          "Dropout",
                                          "Einsum",
                                          "Elu",
                                          "Equal",
                                          "Erf",
                                          "Exp",
                                          "Expand",
                                          "Flatten",
                                          "Floor",
                                          "GRU",
                                          "Gather",
                                          "GatherElements",
                                          "GatherND",
                                          "Gelu",
                                          "Gemm",
                                          "GlobalAveragePool",
                                          "GlobalMaxPool",
                                          "Greater",
                                          "GreaterOrEqual",
                                          "HardSigmoid",
                                          "HardSwish",
                                          "Identity",
                                          "InstanceNormalization",
                                          "LSTM",
                                          "LayerNormalization",
                                          "LeakyRelu",
                                          "Less",
                                          "LessOrEqual",
                                          "Log",
                                          "LogSoftmax",
                                          "LpNormalization",
                                          "MatMul",
                                          "Max",
                                          "MaxPool",
                                          "Mean",
                                          "Min",
                                          "Mish",
                                          "Mul",
                                          "Neg",
                                          "PRelu",
                                          "Pad",
                                          "Pow",
                                          "RMSNormalization",
                                          "RNN",
                                          "Reciprocal",
                                          "ReduceL1",
                                          "ReduceL2",
                                          "ReduceMax",
                                          "ReduceMean",
                                          "ReduceMin",
                                          "ReduceProd",
                                          "ReduceSum",
                                          "ReduceSumSquare",
                                          "Relu",
                                          "Reshape",
                                          "Resize",
                                          "Round",
                                          "ScatterElements",
                                          "ScatterND",
                                          "Selu",
                                          "Shape",
                                          "Sigmoid",
                                          "Sign",
                                          "Sin",
                                          "Size",
                                          "Slice",
                                          "Softmax",
                                          "Softplus",
                                          "Softsign",
                                          "SpaceToDepth",
                                          "Split",
                                          "Sqrt",
                                          "Squeeze",
                                          "Sub",
                                          "Sum",
                                          "Swish",
                                          "Tanh",
                                          "Tile",
                                          "TopK",
                                          "Transpose",
                                          "Trilu",
                                          "Unsqueeze",
                                          "Where"};
static_assert(std::is_sorted(std::begin(kInHalves), std::end(kInHalves)));

// Inputs that are f32 by the operator's definition.
bool takes_f32(const Node& node, std::size_t input) { return node.is("Resize") && input == 2; }

Tensor to_halves(const Tensor& tensor, DType type) {
  Tensor result(type, tensor.dims());
  const auto from = tensor.values<float>();
  auto* to = reinterpret_cast<std::uint16_t*>(result.mutable_bytes().data());
  for (std::size_t i = 0; i < from.size(); ++i)
    to[i] =
        type == DType::f16 ? numerics::to_f16(static_cast<double>(from[i])) : numerics::to_bf16(static_cast<double>(from[i]));
  return result;
}

class Converter {
 public:
  Converter(const Graph& graph, const Recipe& recipe, const Statistics* statistics)
      : graph_(graph), typed_(graph), recipe_(recipe), matcher_(recipe), statistics_(statistics) {
    ops::infer_shapes(typed_);
    types_.emplace(typed_);
  }

  ConvertedFloats run() {
    choose_type();
    raise_opset();
    names_.emplace(graph_);
    node_names_.emplace(NamePool::of_nodes(graph_));
    for (const Node& node : graph_.nodes) decide(node);
    find_readers();
    for (const ValueInfo& input : graph_.inputs)
      if (is_f32(input.name)) make_other_form(input.name, false);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) rewrite(graph_.nodes[i], forms_[i]);
    if (result_.converted == 0 && result_.stored == 0) {
      const std::string why = result_.kept.empty() ? "it has no nodes on f32 values" : result_.kept.front().reason;
      throw Error(ErrorCode::kUnsupported, "graph", fmt::format("nothing in it becomes {}: {}", name(type_), why));
    }
    graph_.nodes = std::move(nodes_);
    remove_unused_values(graph_);
    verify(graph_);
    result_.graph = std::move(graph_);
    return std::move(result_);
  }

 private:
  enum class Form : std::uint8_t {
    apart,   // reads and makes no f32 values
    half,    // computes in 16 bits
    stored,  // computes in f32 on constants that are stored in 16 bits
    f32,
  };

  void choose_type() {
    std::optional<DType> chosen;
    for (const Rule& rule : recipe_.rules) {
      if (rule.float_type == DType::f32) continue;
      if (chosen && *chosen != rule.float_type)
        throw Error(ErrorCode::kBadRecipe, "/rules", "rules name both f16 and bf16; a file holds one of them");
      chosen = rule.float_type;
    }
    if (!chosen) throw Error(ErrorCode::kBadRecipe, "/rules", "no rule names f16 or bf16");
    type_ = *chosen;
  }
  // ONNX Runtime 1.32 puts Casts around f16 nodes that it has no kernels for, but not around those of bf16.
  bool target_computes() const { return type_ == DType::f16 || recipe_.target != Target::onnxruntime; }
  void raise_opset() {
    if (type_ != DType::bf16) return;
    const std::int64_t opset = target_computes() ? kOpsetOfBf16 : kOpsetOfBf16Cast;
    const std::int64_t before = graph_.opset();
    passes::raise_opset(graph_, {opset, "graph", "operators on bf16", "convert to f16"}, quant::opset_limit(recipe_.target));
    if (graph_.opset() == before) return;
    types_.reset();
    typed_ = graph_;
    ops::infer_shapes(typed_);
    types_.emplace(typed_);
  }

  bool is_f32(const std::string& value) const { return !value.empty() && types_->type_of(value).dtype == DType::f32; }

  void decide(const Node& node) {
    const auto real = [&](const std::string& value) { return is_f32(value); };
    const bool makes = std::any_of(node.outputs.begin(), node.outputs.end(), real);
    const bool reads = std::any_of(node.inputs.begin(), node.inputs.end(), real);
    if (!makes && !reads && !has_subgraph(node)) {
      forms_.push_back(Form::apart);
      return;
    }
    std::string reason = why_f32(node, reads);
    const bool in_range = reason.empty();
    if (in_range && !target_computes())
      reason =
          fmt::format("{} has no {} kernels on CPUs: its constants are stored in 16 bits", name(recipe_.target), name(type_));
    forms_.push_back(reason.empty() ? Form::half : in_range ? Form::stored : Form::f32);
    if (reason.empty())
      ++result_.converted;
    else if (makes && reads)
      result_.kept.push_back({quant::name_of(node), node.op_type, std::move(reason)});
  }
  std::string why_f32(const Node& node, bool reads) const {
    const std::optional<std::size_t> rule = matcher_.last_match(node);
    if (!rule) return "no rule of the recipe matches it";
    if (recipe_.rules[*rule].float_type == DType::f32)
      return fmt::format("rule {} of the recipe (scope '{}') keeps it in f32", *rule, recipe_.rules[*rule].scope);
    if (has_subgraph(node)) return "control flow: bodies stay in f32";
    if (!node.domain.empty() || !std::binary_search(std::begin(kInHalves), std::end(kInHalves), node.op_type))
      return fmt::format("not known to compute in {}", name(type_));
    if (!reads || (node.is("Cast") && is_f32(node.outputs[0]))) return "it makes f32 values of others";
    if (type_ == DType::f16) return why_beyond_f16(node);
    return "";
  }
  std::string why_beyond_f16(const Node& node) const {
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const Tensor* constant = is_f32(node.inputs[i]) && !takes_f32(node, i) ? graph_.constant(node.inputs[i]) : nullptr;
      if (constant == nullptr) continue;
      float most = 0;
      for (const float value : constant->values<float>())
        if (std::isfinite(value)) most = std::max(most, std::abs(value));
      if (most > kMostOfF16) return fmt::format("f16 holds at most 65504: its constant '{}' holds {}", node.inputs[i], most);
      if (most > 0 && most < kLeastOfF16)
        return fmt::format("f16 holds too few bits of its constant '{}', at most {}", node.inputs[i], most);
    }
    if (statistics_ == nullptr) return "";
    std::string reason;
    const auto check = [&](const std::string& value) {
      const ValueStatistics* seen = value.empty() ? nullptr : statistics_->find(value);
      if (seen == nullptr || seen->count() == 0 || !reason.empty()) return;
      const float most = std::max(-seen->min, seen->max);
      if (most > kMostOfF16)
        reason = fmt::format("f16 holds at most 65504: value '{}' reached {} on the samples", value, most);
      else if (most > 0 && most < kLeastOfF16)
        reason = fmt::format("f16 holds too few bits of value '{}', at most {} on the samples", value, most);
    };
    for (const std::string& value : node.inputs) check(value);
    for (const std::string& value : node.outputs) check(value);
    return reason;
  }

  void find_readers() {
    for (const ValueInfo& output : graph_.outputs) in_f32_.insert(output.name);
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      for (std::size_t input = 0; input < node.inputs.size(); ++input)
        (forms_[i] == Form::half && !takes_f32(node, input) ? in_half_ : in_f32_).insert(node.inputs[input]);
      if (has_subgraph(node))
        for (const std::string& value : values_read(node)) in_f32_.insert(value);
    }
  }

  // --- values ---
  std::string half_name(const std::string& value) { return names_->take(fmt::format("{}_{}", value, name(type_))); }
  std::string add_cast(const std::string& from, const std::string& to, DType type) {
    Node cast{.name = node_names_->take(to + "_cast"), .op_type = "Cast", .inputs = {from}, .outputs = {to}};
    cast.attributes["to"] = type == DType::f32 ? kF32Code : type == DType::f16 ? kF16Code : kBf16Code;
    nodes_.push_back(std::move(cast));
    return to;
  }
  void set_type(const std::string& value, const std::string& like, DType type) {
    TensorType known = types_->type_of(like);
    known.dtype = type;
    graph_.types[value] = std::move(known);
  }
  // Behind the maker of a value, for readers of its other form. The f32 form keeps the name, if there is one.
  void make_other_form(const std::string& value, bool made_half) {
    if (made_half) {
      if (halves_.at(value) == value) return;
      add_cast(halves_.at(value), value, DType::f32);
    } else if (in_half_.contains(value)) {
      const std::string half = halves_[value] = half_name(value);
      set_type(half, value, type_);
      add_cast(value, half, type_);
    }
  }
  const std::string& constant_in_half(const std::string& value) {
    const auto found = halves_.find(value);
    if (found != halves_.end()) return found->second;
    Tensor half = to_halves(*graph_.constant(value), type_);
    const bool only = !in_f32_.contains(value);
    const std::string name = only ? value : half_name(value);
    graph_.types.erase(name);
    graph_.initializers[name] = std::move(half);
    return halves_[value] = name;
  }
  // The f32 form of a constant that is stored in 16 bits.
  const std::string& stored(const std::string& value) {
    const auto found = stored_.find(value);
    if (found != stored_.end()) return found->second;
    const std::string half = half_name(value), back = names_->take(value + "_f32");
    graph_.initializers[half] = to_halves(*graph_.constant(value), type_);
    set_type(back, value, DType::f32);
    add_cast(half, back, DType::f32);
    ++result_.stored;
    return stored_[value] = back;
  }

  void rewrite(const Node& original, Form form) {
    Node node = original;
    if (form == Form::half) {
      for (std::size_t i = 0; i < node.inputs.size(); ++i) {
        std::string& input = node.inputs[i];
        if (!is_f32(original.inputs[i]) || takes_f32(node, i)) continue;
        input = graph_.constant(original.inputs[i]) ? constant_in_half(original.inputs[i]) : halves_.at(original.inputs[i]);
      }
      for (std::string& output : node.outputs) {
        if (!is_f32(output)) continue;
        const std::string value = output;
        halves_[value] = output = in_f32_.contains(value) ? half_name(value) : value;
        set_type(output, value, type_);
      }
    } else if (form == Form::stored) {
      for (std::string& input : node.inputs)
        if (const Tensor* constant = is_f32(input) ? graph_.constant(input) : nullptr;
            constant && constant->size() >= kLeastStored)
          input = stored(input);
    }
    nodes_.push_back(std::move(node));
    for (const std::string& value : original.outputs)
      if (is_f32(value)) make_other_form(value, form == Form::half);
  }

  Graph graph_, typed_;
  std::optional<ValueIndex> types_;
  const Recipe& recipe_;
  quant::RuleMatcher matcher_;
  const Statistics* statistics_;
  DType type_ = DType::f16;
  std::vector<Form> forms_;                              // by node
  std::set<std::string, std::less<>> in_f32_, in_half_;  // values with readers of that form
  std::map<std::string, std::string> halves_, stored_;   // value -> its form in 16 bits; constant -> its f32 form behind a Cast
  std::optional<NamePool> names_, node_names_;
  std::vector<Node> nodes_;
  ConvertedFloats result_;
};

}  // namespace

ConvertedFloats convert_floats(const Graph& graph, const Recipe& recipe, const Statistics* statistics) {
  return Converter(graph, recipe, statistics).run();
}

}  // namespace zeropoint
