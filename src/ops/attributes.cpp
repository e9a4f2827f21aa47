#include "ops/attributes.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "base/nearest.h"
#include "ir/names.h"
#include "ops/inference.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

constexpr std::int64_t kNewestKnown = 28;
constexpr std::string_view kMicrosoft = "com.microsoft";

// "axes:I@-17 keepdims:i": names and kinds, with the first and the last opset where they don't hold for all that the operator
// runs in. Sources: onnx.defs 1.23 up to opset 28; the operator schemas of ONNX Runtime 1.32. Operators that are not here have
// none. tests/differential/test_attributes.py holds this against both.
struct Row {
  std::string_view domain, op_types, attributes;
};
constexpr Row kRows[] = {
    {"", "AffineGrid", "align_corners:i"},
    {"", "ArgMax ArgMin", "axis:i keepdims:i select_last_index:i@12"},
    {"", "Attention",
     "is_causal:i kv_num_heads:i left_window_size:i@25 q_num_heads:i qk_matmul_output_mode:i right_window_size:i@25 scale:f "
     "softcap:f softmax_precision:i"},
    {"", "AveragePool", "auto_pad:s ceil_mode:i@10 count_include_pad:i@7 dilations:I@19 kernel_shape:I pads:I strides:I"},
    {"", "BatchNormalization", "epsilon:f momentum:f spatial:i@-8 training_mode:i@14"},
    {"", "BitShift", "direction:s"},
    {"", "Cast", "round_mode:s@24 saturate:i@19 to:i"},
    {"", "CastLike", "round_mode:s@24 saturate:i@19"},
    {"", "Celu Elu LeakyRelu Swish ThresholdedRelu", "alpha:f"},
    {"", "CenterCropPad MeanVarianceNormalization", "axes:I"},
    {"", "Clip", "max:f@-10 min:f@-10"},
    {"", "Col2Im", "dilations:I pads:I strides:I"},
    {"", "Compress Concat Flatten Gather GatherElements Hardmax LogSoftmax OneHot Scatter Softmax", "axis:i"},
    {"", "Constant",
     "sparse_value:x@11 value:t value_float:f@12 value_floats:F@12 value_int:i@12 value_ints:I@12 value_string:s@12 "
     "value_strings:S@12"},
    {"", "ConstantOfShape", "value:t"},
    {"", "Conv ConvInteger QLinearConv", "auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I"},
    {"", "ConvTranspose", "auto_pad:s dilations:I group:i kernel_shape:I output_padding:I output_shape:I pads:I strides:I"},
    {"", "CumProd CumSum", "exclusive:i reverse:i"},
    {"", "DepthToSpace", "blocksize:i mode:s@11"},
    {"", "DequantizeLinear", "axis:i@13 block_size:i@21 output_dtype:i@23"},
    {"", "Dropout", "ratio:f@-11 seed:i@12"},
    {"", "Einsum", "equation:s"},
    {"", "GatherND", "batch_dims:i@12"},
    {"", "Gelu", "approximate:s"},
    {"", "Gemm", "alpha:f beta:f transA:i transB:i"},
    {"", "GlobalLpPool", "p:i"},
    {"", "GridSample", "align_corners:i mode:s padding_mode:s"},
    {"", "GroupNormalization", "epsilon:f num_groups:i stash_type:i@21"},
    {"", "GRU",
     "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i layout:i@14 linear_before_reset:i"},
    {"", "HardSigmoid", "alpha:f beta:f"},
    {"", "If", "else_branch:g then_branch:g"},
    {"", "InstanceNormalization", "epsilon:f"},
    {"", "IsInf", "detect_negative:i detect_positive:i"},
    {"", "LayerNormalization RMSNormalization SimplifiedLayerNormalization", "axis:i epsilon:f stash_type:i"},
    {"", "Loop", "body:g"},
    {"", "LpNormalization", "axis:i p:i"},
    {"", "LpPool", "auto_pad:s ceil_mode:i@18 dilations:I@18 kernel_shape:I p:i pads:I strides:I"},
    {"", "LRN", "alpha:f beta:f bias:f size:i"},
    {"", "LSTM",
     "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i input_forget:i layout:i@14"},
    {"", "MaxPool", "auto_pad:s ceil_mode:i@10 dilations:I@10 kernel_shape:I pads:I storage_order:i@8 strides:I"},
    {"", "MaxRoiPool", "pooled_shape:I spatial_scale:f"},
    {"", "MaxUnpool", "kernel_shape:I pads:I strides:I"},
    {"", "Mod", "fmod:i"},
    {"", "NonMaxSuppression", "center_point_box:i"},
    {"", "Pad", "mode:s pads:I@-10 value:f@-10"},
    {"", "QuantizeLinear", "axis:i@13 block_size:i@21 output_dtype:i@21 precision:i@23 saturate:i@19"},
    {"", "Range", "stash_type:i@27"},
    {"", "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare",
     "axes:I@-17 keepdims:i noop_with_empty_axes:i@18"},
    {"", "ReduceSum", "axes:I@-12 keepdims:i noop_with_empty_axes:i@13"},
    {"", "Reshape", "allowzero:i@14 consumed_inputs:I@-4 shape:I@-4"},
    {"", "Resize",
     "antialias:i@18 axes:I@18 coordinate_transformation_mode:s@11 cubic_coeff_a:f@11 exclude_outside:i@11 "
     "extrapolation_value:f@11 keep_aspect_ratio_policy:s@18 mode:s nearest_mode:s@11"},
    {"", "ReverseSequence", "batch_axis:i time_axis:i"},
    {"", "RNN", "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i layout:i@14"},
    {"", "RotaryEmbedding", "interleaved:i num_heads:i rotary_embedding_dim:i"},
    {"", "Scan",
     "body:g directions:I@-8 num_scan_inputs:i scan_input_axes:I@9 scan_input_directions:I@9 scan_output_axes:I@9 "
     "scan_output_directions:I@9"},
    {"", "ScatterElements", "axis:i reduction:s@16"},
    {"", "ScatterND", "reduction:s@16"},
    {"", "Selu", "alpha:f gamma:f"},
    {"", "Shape", "end:i@15 start:i@15"},
    {"", "Shrink", "bias:f lambd:f"},
    {"", "Slice", "axes:I@-9 ends:I@-9 starts:I@-9"},
    {"", "SpaceToDepth", "blocksize:i mode:s@28"},
    {"", "Split", "axis:i num_outputs:i@18 split:I@-12"},
    {"", "Squeeze Unsqueeze", "axes:I@-12"},
    {"", "TopK", "axis:i k:i@-9 largest:i@11 sorted:i@11"},
    {"", "Transpose", "perm:I"},
    {"", "Trilu", "upper:i"},
    {"", "Unique", "axis:i sorted:i"},
    {"", "Upsample", "mode:s scales:F@-8"},
    {kMicrosoft, "Attention",
     "do_rotary:i mask_filter_value:f num_heads:i past_present_share_buffer:i qkv_hidden_sizes:I rotary_embedding_dim:i "
     "scale:f unidirectional:i"},
    {kMicrosoft, "DequantizeLinear QLinearConcat QuantizeLinear", "axis:i"},
    {kMicrosoft, "DynamicQuantizeLSTM",
     "activation_alpha:F activation_beta:F activations:S clip:f direction:s hidden_size:i input_forget:i"},
    {kMicrosoft, "EmbedLayerNormalization", "epsilon:f mask_index_type:i"},
    {kMicrosoft, "FusedConv",
     "activation:s activation_params:F auto_pad:s dilations:I group:i kernel_shape:I pads:I strides:I"},
    {kMicrosoft, "FusedGemm",
     "activation:s activation_alpha:f activation_beta:f activation_gamma:f alpha:f beta:f transA:i transB:i"},
    {kMicrosoft, "FusedMatMul", "alpha:f transA:i transB:i transBatchA:i transBatchB:i"},
    {kMicrosoft, "MatMulNBits", "K:i N:i accuracy_level:i bits:i block_size:i weight_prepacked:i"},
    {kMicrosoft, "NhwcMaxPool", "auto_pad:s ceil_mode:i dilations:I kernel_shape:I pads:I strides:I"},
    {kMicrosoft, "QAttention",
     "do_rotary:i mask_filter_value:f num_heads:i past_present_share_buffer:i scale:f unidirectional:i"},
    {kMicrosoft, "QGemm", "alpha:f transA:i transB:i"},
    {kMicrosoft, "QLinearAveragePool",
     "auto_pad:s ceil_mode:i channels_last:i count_include_pad:i kernel_shape:I pads:I strides:I"},
    {kMicrosoft, "QLinearGlobalAveragePool", "channels_last:i"},
    {kMicrosoft, "QLinearLeakyRelu QuickGelu", "alpha:f"},
    {kMicrosoft, "QLinearReduceMean", "axes:I keepdims:i"},
    {kMicrosoft, "QLinearSoftmax", "axis:i opset:i"},
    {kMicrosoft, "SimplifiedLayerNormalization", "axis:i epsilon:f stash_type:i"},
    {kMicrosoft, "SkipLayerNormalization SkipSimplifiedLayerNormalization", "epsilon:f"},
};

// As indices of Attribute.
std::size_t kind_of(char letter) {
  constexpr std::string_view kLetters = "ifstIFSTgx";  // x: sparse tensors, which are not interpreted
  return kLetters.find(letter);
}

struct Known {
  std::string name;
  std::size_t kind = 0;
  std::int64_t from = 0, to = std::numeric_limits<std::int64_t>::max();
};

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> result;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    result.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return result;
}

Known parse_known(std::string_view text) {
  const std::size_t colon = text.find(':');
  Known known{.name = std::string(text.substr(0, colon)), .kind = kind_of(text[colon + 1])};
  text.remove_prefix(colon + 2);
  if (text.empty()) return known;
  const std::size_t dash = text.find('-');
  const auto read = [](std::string_view digits, std::int64_t& number) {
    std::from_chars(digits.data(), digits.data() + digits.size(), number);
  };
  read(text.substr(1, dash == std::string_view::npos ? dash : dash - 1), known.from);
  if (dash != std::string_view::npos) read(text.substr(dash + 1), known.to);
  return known;
}

using Table = std::map<std::pair<std::string_view, std::string_view>, std::vector<Known>>;

const Table& table() {
  static const Table instance = [] {
    Table result;
    for (const Row& row : kRows)
      for (const std::string_view op_type : split_words(row.op_types))
        for (const std::string_view attribute : split_words(row.attributes))
          result[{row.domain, op_type}].push_back(parse_known(attribute));
    return result;
  }();
  return instance;
}

[[noreturn]] void refuse(const Node& node, const std::string& name, std::int64_t opset, const std::vector<Known>& known) {
  std::vector<std::string> names;
  for (const Known& each : known) {
    if (each.name == name)
      fail(ErrorCode::kBadAttribute, node,
           each.to < opset ? fmt::format("has no attribute '{}' in opset {}: it had up to {}", name, opset, each.to)
                           : fmt::format("has no attribute '{}' in opset {}: it has from {} on", name, opset, each.from));
    if (each.from <= opset && opset <= each.to) names.push_back(each.name);
  }
  const std::string near = nearest(name, names);
  fail(ErrorCode::kBadAttribute, node,
       fmt::format("{} has no attribute '{}'{}", node.op_type, name, near.empty() ? "" : "; did you mean '" + near + "'?"));
}

void check(const Node& node, const std::string& name, const Attribute& attribute, std::int64_t opset, bool references) {
  static const std::vector<Known> none;
  if (name.starts_with("__")) return;
  const auto found = table().find({node.domain, node.op_type});
  const std::vector<Known>& known = found == table().end() ? none : found->second;
  for (const Known& each : known) {
    if (each.name != name || opset < each.from || opset > each.to) continue;
    const bool refers = references && std::holds_alternative<OpaqueAttribute>(attribute);
    if (attribute.index() == each.kind || refers) return;
    fail(ErrorCode::kBadAttribute, node,
         fmt::format("attribute '{}' is {}, but must be {}", name, kind_name(attribute.index()), kind_name(each.kind)));
  }
  refuse(node, name, opset, known);
}

void check_graph(const Graph& graph, const std::map<std::string, std::int64_t>& opsets, const AttributeChecks& checks) {
  for (const Node& node : graph.nodes) {
    if (node.attributes.empty()) continue;
    for (const auto& [name, attribute] : node.attributes)
      if (const auto* body = std::get_if<std::shared_ptr<const Graph>>(&attribute); body != nullptr && *body)
        check_graph(**body, opsets, checks);
    const Operator* entry = find(node);
    const std::int64_t opset = node_opset(opsets, node);
    if (entry == nullptr || opset < entry->since || (node.domain.empty() && opset > kNewestKnown)) continue;
    if (checks.skip && checks.skip(node)) continue;
    for (const auto& [name, attribute] : node.attributes) check(node, name, attribute, opset, checks.references);
  }
}

}  // namespace

void check_attributes(const Graph& graph, const AttributeChecks& checks) {
  check_graph(graph, checks.opsets == nullptr ? graph.opsets : *checks.opsets, checks);
}

}  // namespace zeropoint::ops
