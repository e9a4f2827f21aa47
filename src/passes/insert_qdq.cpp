#include "zeropoint/insert_qdq.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ir/names.h"
#include "numerics/quantize.h"
#include "ops/quantized.h"
#include "passes/raise_opset.h"
#include "zeropoint/error.h"
#include "zeropoint/quantize_tensor.h"

namespace zeropoint {
namespace {

constexpr std::int64_t kOnnxFloat = 1;  // TensorProto.FLOAT

bool is_weighted(const Node& node) {
  return node.is("Conv") || node.is("ConvTranspose") || node.is("Gemm") || node.is("MatMul");
}

// Operators that move or pick values: with the same parameters on both sides their results lie in the same levels.
bool moves_values(const Node& node) {
  static const std::set<std::string, std::less<>> types = {
      "Concat",       "DepthToSpace", "Expand",  "Flatten", "Gather",    "GatherElements", "GatherND",  "GlobalMaxPool",
      "Identity",     "MaxPool",      "Pad",     "Reshape", "Resize",    "ReduceMax",      "ReduceMin", "Slice",
      "SpaceToDepth", "Split",        "Squeeze", "Tile",    "Transpose", "Unsqueeze"};
  return node.domain.empty() && types.contains(node.op_type);
}

class Inserter {
 public:
  Inserter(Graph graph, const QParamsMap& qparams)
      : graph_(std::move(graph)),
        values_(graph_),
        qparams_(qparams),
        uses_(find_uses(graph_)),
        names_(graph_),
        node_names_(NamePool::of_nodes(graph_)) {}

  Graph run() {
    for (const auto& [value, parameters] : qparams_) check(value, parameters);
    for (const ValueInfo& info : graph_.inputs)
      if (qparams_.contains(info.name)) quantize_value(info.name, info.name);
    for (const Node& original : graph_.nodes) {
      Node node = original;
      if (is_lookup(node)) {
        look_up(node);
        continue;
      }
      for (const std::string& input : original.inputs)
        if (graph_.constant(input) && qparams_.contains(input)) quantize_weight(input);
      if (is_weighted(node) && qparams_.contains(node.input(0)) && qparams_.contains(node.input(1))) quantize_bias_of(node);
      for (std::string& input : node.inputs) input = reading(node, input);
      if (const auto bias = bias_adds_.find(&original); bias != bias_adds_.end())
        std::replace(node.inputs.begin(), node.inputs.end(), bias->second.first, bias->second.second);
      std::vector<std::pair<std::string, std::string>> quantized;  // value, name of its float form
      for (std::string& output : node.outputs)
        if (!output.empty() && qparams_.contains(output)) {
          const std::string value = output;
          if (values_.is_output(value)) output = names_.take(value + "_float");
          quantized.emplace_back(value, output);
        }
      nodes_.push_back(std::move(node));
      for (const auto& [value, unquantized] : quantized) quantize_value(value, unquantized, &original);
    }
    graph_.nodes = std::move(nodes_);
    remove_unused_values(graph_);
    verify(graph_);
    return std::move(graph_);
  }

 private:
  void check(const std::string& value, const QParams& parameters) const {
    const std::string where = "value '" + value + "'";
    if (!names_.has(value)) throw Error(ErrorCode::kBadArgument, where, "the graph has no such value");
    if (const Tensor* constant = graph_.constant(value)) {
      if (constant->dtype() != DType::f32)
        throw Error(ErrorCode::kBadArgument, where, "is " + std::string(name(constant->dtype())) + ", only f32 is quantized");
      if (values_.is_output(value)) throw Error(ErrorCode::kBadArgument, where, "a constant that is an output of the graph");
      return;
    }
    if (const DType dtype = values_.type_of(value).dtype; dtype != DType::f32 && dtype != DType::undefined)
      throw Error(ErrorCode::kBadArgument, where, "is " + std::string(name(dtype)) + ", only f32 is quantized");
    if (!std::holds_alternative<PerTensor>(parameters.granularity) || parameters.scale.size() != 1 ||
        parameters.zero_point.size() != 1)
      throw Error(ErrorCode::kBadShape, where, "activations have one scale and one zero point");
  }

  std::string add_constant(const std::string& base, Tensor tensor) {
    std::string name = names_.take(base);
    graph_.initializers.emplace(name, std::move(tensor));
    return name;
  }

  // What a node reads in place of `value`.
  std::string reading(const Node& node, const std::string& value) const {
    // Shapes are the same before DequantizeLinear, which then keeps a single kind of reader.
    if (const auto found = quantized_.find(value); found != quantized_.end() && (node.is("Shape") || node.is("Size")))
      return found->second;
    const auto found = dequantized_.find(value);
    return found == dequantized_.end() ? value : found->second;
  }

  // unquantized -> QuantizeLinear -> DequantizeLinear; readers of `value` get the latter's output. Where the parameters leave
  // out levels of the type: unquantized -> Clip to the real numbers of the outermost levels -> QuantizeLinear.
  void quantize_value(const std::string& value, std::string unquantized, const Node* maker = nullptr) {
    const QParams& parameters = qparams_.at(value);
    const std::string scale = add_constant(value + "_scale", Tensor::scalar(parameters.scale[0]));
    const std::string zero_point =
        add_constant(value + "_zero_point", ops::write_integers(parameters.zero_point, parameters.dtype, {}));
    const std::string q = names_.take(value + "_quantized");
    const std::string back = unquantized == value ? names_.take(value + "_dequantized") : value;
    const bool leaves_out = parameters.bits != 0 && !(maker && stays_within_levels(*maker, parameters));
    TensorType type = values_.type_of(value);
    type.dtype = DType::f32;
    if (back != value) graph_.types[back] = type;
    if (unquantized != value) graph_.types[unquantized] = type;
    if (leaves_out) unquantized = clip_to_levels(value, unquantized, type);
    type.dtype = parameters.dtype;
    graph_.types[q] = type;
    add_node("QuantizeLinear", value + "_quantize", {unquantized, scale, zero_point}, q, -1);
    add_node("DequantizeLinear", value + "_dequantize", {q, scale, zero_point}, back, -1);
    quantized_[value] = q;
    dequantized_[value] = back;
  }

  std::string clip_to_levels(const std::string& value, const std::string& unquantized, const TensorType& type) {
    const QParams& parameters = qparams_.at(value);
    const IntegerLimits limits = limits_of(parameters);
    const auto real = [&](std::int32_t q) { return numerics::dequantize(q, parameters.scale[0], parameters.zero_point[0]); };
    const std::string low = add_constant(value + "_low", Tensor::scalar(real(limits.low)));
    const std::string high = add_constant(value + "_high", Tensor::scalar(real(limits.high)));
    std::string clipped = names_.take(value + "_clipped");
    graph_.types[clipped] = type;
    add_node("Clip", value + "_clip", {unquantized, low, high}, clipped, -1);
    return clipped;
  }
  bool stays_within_levels(const Node& maker, const QParams& parameters) const {
    return moves_values(maker) && std::all_of(maker.inputs.begin(), maker.inputs.end(), [&](const std::string& input) {
             if (input.empty() || graph_.constant(input) || values_.type_of(input).dtype != DType::f32) return true;
             const auto found = qparams_.find(input);
             return found != qparams_.end() && found->second == parameters;
           });
  }

  void add_node(const std::string& op_type, const std::string& node_name, std::vector<std::string> inputs,
                const std::string& output, int axis) {
    Node node;
    node.op_type = op_type;
    node.name = node_names_.take(node_name);
    node.inputs = std::move(inputs);
    node.outputs = {output};
    if (axis >= 0) node.attributes["axis"] = static_cast<std::int64_t>(axis);
    nodes_.push_back(std::move(node));
  }

  void quantize_bias_of(Node& node) {
    if (node.is("MatMul")) {
      quantize_bias_behind(node);
    } else if (!node.input(2).empty()) {
      if (const Tensor* bias = graph_.constant(node.input(2)); bias && bias->dtype() == DType::f32)
        node.inputs[2] = quantize_bias(node.input(2), node);
    }
  }

  void quantize_weight(const std::string& w) {
    if (dequantized_.contains(w)) return;  // another node read it first
    const QParams& parameters = qparams_.at(w);
    const Tensor values = *graph_.constant(w);
    const Dims dims = scale_dims(values.dims(), parameters.granularity);
    const auto* channel = std::get_if<PerChannel>(&parameters.granularity);
    const std::string q = add_constant(w + "_quantized", quantize_tensor(values, parameters, limits_of_weight(parameters)));
    const std::string scale = add_constant(w + "_scale", Tensor::of<float>(dims, parameters.scale));
    const std::string zero_point =
        add_constant(w + "_zero_point", ops::write_integers(parameters.zero_point, parameters.dtype, dims));
    const std::string back = names_.take(w + "_dequantized");
    graph_.types[back] = {DType::f32, to_shape(values.dims())};
    add_node("DequantizeLinear", w + "_dequantize", {q, scale, zero_point}, back, channel ? channel->axis : -1);
    dequantized_[w] = back;
  }

  // Gather of the rows of a quantized table: rows and scales are picked first, so that no runtime expands the whole table.
  bool is_lookup(const Node& node) const {
    const Tensor* table = node.is("Gather") ? graph_.constant(node.input(0)) : nullptr;
    const auto found = table ? qparams_.find(node.input(0)) : qparams_.end();
    if (found == qparams_.end() || table->rank() != 2 || node.get_int("axis", 0) != 0) return false;
    const auto* rows = std::get_if<PerChannel>(&found->second.granularity);
    const std::vector<std::int32_t>& zero_points = found->second.zero_point;
    return rows && rows->axis == 0 && std::all_of(zero_points.begin(), zero_points.end(), [](auto z) { return z == 0; });
  }
  // row = float(q[index]) * scale[index]: what DequantizeLinear along axis 0 and Gather would give, bit for bit.
  void look_up(const Node& node) {
    const std::string& w = node.input(0);
    const std::string &y = node.outputs[0], &indices = node.input(1);
    if (!tables_.contains(w)) {
      const QParams& parameters = qparams_.at(w);
      const Tensor values = *graph_.constant(w);
      const std::string q = add_constant(w + "_quantized", quantize_tensor(values, parameters, limits_of_weight(parameters)));
      tables_[w] = {q, add_constant(w + "_scale", Tensor::of<float>({values.dim(0), 1}, parameters.scale))};
    }
    const auto& [q, scale] = tables_.at(w);
    const std::string rows = names_.take(y + "_quantized"), row_scales = names_.take(y + "_scale"),
                      cast = names_.take(y + "_integer");
    TensorType type = values_.type_of(y);
    type.dtype = DType::f32;
    graph_.types[cast] = type;
    if (type.shape && !type.shape->empty()) {
      graph_.types[rows] = {qparams_.at(w).dtype, type.shape};
      type.shape->back() = Dim(1);
      graph_.types[row_scales] = type;
    }
    Node gather = node;
    gather.inputs[0] = q;
    gather.outputs[0] = rows;
    nodes_.push_back(std::move(gather));
    add_node("Gather", y + "_scales", {scale, indices}, row_scales, -1);
    add_node("Cast", y + "_cast", {rows}, cast, -1);
    nodes_.back().attributes["to"] = kOnnxFloat;
    add_node("Mul", y + "_scale_rows", {cast, row_scales},
             qparams_.contains(y) && values_.is_output(y) ? names_.take(y + "_float") : y, -1);
    if (qparams_.contains(y)) quantize_value(y, nodes_.back().outputs[0]);
  }

  // Of the Add behind a MatMul, when it adds a constant to each output channel and the product has no quantizer of its own.
  void quantize_bias_behind(const Node& node) {
    const std::string& product = node.outputs[0];
    const auto readers = uses_.consumers.find(product);
    const Tensor* weight = graph_.constant(node.input(1));
    if (!weight || weight->rank() != 2 || qparams_.contains(product) || readers == uses_.consumers.end() ||
        readers->second.size() != 1 || values_.is_output(product))
      return;
    const Node& add = graph_.nodes[readers->second.front()];
    if (!add.is("Add")) return;
    const std::string& bias = add.input(0) == product ? add.input(1) : add.input(0);
    const Tensor* values = graph_.constant(bias);
    const std::int64_t channels = weight->dim(1);
    if (!values || values->dtype() != DType::f32 || values->rank() == 0 || values->size() != channels ||
        values->dims().back() != channels || qparams_.contains(bias))
      return;
    bias_adds_[&add] = {bias, quantize_bias(bias, node)};
  }

  // The bias as s32 at x_scale * w_scale[c], the scale of the products' sums.
  std::string quantize_bias(const std::string& bias, const Node& node) {
    const Tensor values = *graph_.constant(bias);
    const QParams &x = qparams_.at(node.input(0)), &w = qparams_.at(node.input(1));
    const bool per_channel = w.scale.size() > 1 || std::holds_alternative<PerChannel>(w.granularity);
    const auto* channel = std::get_if<PerChannel>(&w.granularity);
    // Along axis 1 of ConvTranspose's weights [I,O/groups,...] the groups share their scales.
    const bool repeats = node.is("ConvTranspose") && channel && channel->axis == 1;
    const std::size_t groups = repeats ? static_cast<std::size_t>(node.get_int("group", 1)) : 1;
    std::vector<float> scale(w.scale.size() * groups);
    for (std::size_t c = 0; c < scale.size(); ++c) scale[c] = x.scale[0] * w.scale[c % w.scale.size()];
    const auto channels =
        static_cast<std::size_t>(std::max<std::int64_t>(values.size(), static_cast<std::int64_t>(scale.size())));
    Tensor q(DType::s32, {static_cast<std::int64_t>(channels)});
    const auto in = values.values<float>();
    const auto out = q.mutable_values<std::int32_t>();
    constexpr double kLow = std::numeric_limits<std::int32_t>::min(), kHigh = std::numeric_limits<std::int32_t>::max();
    for (std::size_t c = 0; c < channels; ++c) {
      // In double: fp32 could not tell apart the neighbours of a count above 2^24.
      const double steps = static_cast<double>(in[in.size() == 1 ? 0 : c]) / static_cast<double>(scale[per_channel ? c : 0]);
      out[c] = static_cast<std::int32_t>(std::clamp(std::nearbyint(steps), kLow, kHigh));
    }
    const std::string quantized = add_constant(bias + "_quantized", std::move(q));
    const Dims dims = per_channel ? Dims{static_cast<std::int64_t>(scale.size())} : Dims{};
    const std::string scales = add_constant(bias + "_scale", Tensor::of<float>(dims, scale));
    const std::string back = names_.take(bias + "_dequantized");
    graph_.types[back] = {DType::f32, Shape{Dim(static_cast<std::int64_t>(channels))}};
    add_node("DequantizeLinear", bias + "_dequantize", {quantized, scales}, back, per_channel ? 0 : -1);
    return back;
  }

  Graph graph_;
  const ValueIndex values_;
  const QParamsMap& qparams_;
  Uses uses_;
  NamePool names_, node_names_;
  std::vector<Node> nodes_;
  std::map<std::string, std::string> quantized_, dequantized_;            // value -> what holds it now
  std::map<std::string, std::pair<std::string, std::string>> tables_;     // of Gather -> its integers, their scales
  std::map<const Node*, std::pair<std::string, std::string>> bias_adds_;  // Add behind a MatMul -> bias, its new form
};

}  // namespace

Graph insert_qdq(Graph graph, const QParamsMap& qparams, const OpsetLimit& limit) {
  if (qparams.empty()) return graph;
  passes::raise_opset(graph, passes::opset_of_quantizers(qparams), limit);
  return Inserter(std::move(graph), qparams).run();
}

}  // namespace zeropoint
