// Nodes that break the rules of their operator: attributes out of range, shapes and types that do not fit.
#include <cmath>
#include <limits>
#include <variant>

#include "hostile_models.h"
#include "onnx/test_models.h"

namespace zeropoint {
namespace {

using ::onnx::AttributeProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;
using Ints = std::vector<std::int64_t>;
using Floats = std::vector<float>;

struct In {
  Ints dims;
  std::int32_t type = TensorProto::FLOAT;
  bool constant = false;
  Ints ints = {};
  Floats floats = {};
  bool absent = false;
};
In x(Ints dims, std::int32_t type = TensorProto::FLOAT) { return {std::move(dims), type}; }
In ints(Ints values) { return {{static_cast<std::int64_t>(values.size())}, TensorProto::INT64, true, values}; }
In number(std::int64_t value) { return {{}, TensorProto::INT64, true, {value}}; }
In floats(Floats values) { return {{static_cast<std::int64_t>(values.size())}, TensorProto::FLOAT, true, {}, values}; }
In real(float value) { return {{}, TensorProto::FLOAT, true, {}, {value}}; }
In none() { return {{}, 0, false, {}, {}, true}; }

struct At {
  const char* name;
  std::variant<std::int64_t, float, std::string, Ints, Floats> value;
};

struct Bad {
  const char* name;
  const char* op;
  std::vector<In> inputs;
  std::vector<At> attributes = {};
  int outputs = 1;
  std::int64_t opset = 17;
  const char* cause = "node 'n'";
};

ModelProto build(const Bad& bad) {
  ModelProto model;
  model.set_ir_version(bad.opset > 21 ? 11 : 10);
  model.add_opset_import()->set_version(bad.opset);
  auto& graph = *model.mutable_graph();
  graph.set_name(bad.name);
  NodeProto& node = add_node(graph, bad.op, {}, {});
  node.set_name("n");
  for (std::size_t i = 0; i < bad.inputs.size(); ++i) {
    const In& in = bad.inputs[i];
    if (in.absent) {
      node.add_input("");
      continue;
    }
    const std::string name = "i" + std::to_string(i);
    node.add_input(name);
    if (!in.constant) {
      set_tensor(*graph.add_input(), name, in.type, in.dims);
      continue;
    }
    TensorProto& tensor = *graph.add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(in.type);
    for (const std::int64_t dim : in.dims) tensor.add_dims(dim);
    for (const std::int64_t value : in.ints) tensor.add_int64_data(value);
    for (const float value : in.floats) tensor.add_float_data(value);
  }
  for (const At& at : bad.attributes) {
    AttributeProto& out = *node.add_attribute();
    out.set_name(at.name);
    if (const auto* one = std::get_if<std::int64_t>(&at.value)) out.set_type(AttributeProto::INT), out.set_i(*one);
    if (const auto* one = std::get_if<float>(&at.value)) out.set_type(AttributeProto::FLOAT), out.set_f(*one);
    if (const auto* one = std::get_if<std::string>(&at.value)) out.set_type(AttributeProto::STRING), out.set_s(*one);
    if (const auto* list = std::get_if<Ints>(&at.value)) {
      out.set_type(AttributeProto::INTS);
      for (const std::int64_t value : *list) out.add_ints(value);
    }
    if (const auto* list = std::get_if<Floats>(&at.value)) {
      out.set_type(AttributeProto::FLOATS);
      for (const float value : *list) out.add_floats(value);
    }
  }
  for (int i = 0; i < bad.outputs; ++i) {
    const std::string name = "y" + std::to_string(i);
    node.add_output(name);
    graph.add_output()->set_name(name);
  }
  if (graph.input_size() == 0) set_tensor(*graph.add_input(), "unused", 1, {1});
  return model;
}

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max(), kLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int32_t kS64 = TensorProto::INT64, kU8 = TensorProto::UINT8, kS8 = TensorProto::INT8, kS32 = TensorProto::INT32,
                       kBool = TensorProto::BOOL;

std::vector<Bad> list() {
  const In image = x({1, 3, 8, 8}), w = x({4, 3, 3, 3}), m = x({2, 3, 4});
  std::vector<Bad> all = {
      {"conv_stride_0", "Conv", {image, w}, {{"strides", Ints{0, 1}}}},
      {"conv_stride_negative", "Conv", {image, w}, {{"strides", Ints{1, -1}}}},
      {"conv_stride_huge", "Conv", {image, w}, {{"strides", Ints{kLeast, 1}}}},
      {"conv_strides_3", "Conv", {image, w}, {{"strides", Ints{1, 1, 1}}}},
      {"conv_strides_float", "Conv", {image, w}, {{"strides", Floats{1, 1}}}},
      {"conv_dilation_0", "Conv", {image, w}, {{"dilations", Ints{0, 1}}}},
      {"conv_dilation_negative", "Conv", {image, w}, {{"dilations", Ints{-2, 1}}}},
      {"conv_dilation_overflow", "Conv", {image, w}, {{"dilations", Ints{kMost, 1}}}},
      {"conv_dilations_1", "Conv", {image, w}, {{"dilations", Ints{1}}}},
      {"conv_group_0", "Conv", {image, w}, {{"group", std::int64_t{0}}}},
      {"conv_group_negative", "Conv", {image, w}, {{"group", std::int64_t{-1}}}},
      {"conv_group_2_of_3", "Conv", {image, w}, {{"group", std::int64_t{2}}}},
      {"conv_group_huge", "Conv", {image, w}, {{"group", kMost}}},
      {"conv_group_of_outputs", "Conv", {image, x({4, 1, 3, 3})}, {{"group", std::int64_t{3}}}},
      {"conv_pads_3", "Conv", {image, w}, {{"pads", Ints{1, 1, 1}}}},
      {"conv_pads_negative", "Conv", {image, w}, {{"pads", Ints{-9, 0, 0, 0}}}},
      {"conv_pads_overflow", "Conv", {image, w}, {{"pads", Ints{kMost, 0, kMost, 0}}}},
      {"conv_kernel_unlike_weights", "Conv", {image, w}, {{"kernel_shape", Ints{5, 5}}}},
      {"conv_kernel_too_large", "Conv", {image, x({4, 3, 9, 9})}},
      {"conv_kernel_0", "Conv", {image, x({4, 3, 0, 3})}},
      {"conv_channels", "Conv", {image, x({4, 2, 3, 3})}},
      {"conv_auto_pad", "Conv", {image, w}, {{"auto_pad", std::string("SAMEISH")}}},
      {"conv_rank", "Conv", {x({1, 3}), x({4, 3})}},
      {"conv_weights_rank", "Conv", {image, x({4, 3, 3})}},
      {"conv_bias_length", "Conv", {image, w, x({5})}},
      {"conv_types", "Conv", {image, x({4, 3, 3, 3}, kS64)}},
      {"conv_integers", "Conv", {x({1, 3, 8, 8}, kS32), x({4, 3, 3, 3}, kS32)}},
      {"conv_one_input", "Conv", {image}},
      {"conv_four_inputs", "Conv", {image, w, x({4}), x({4})}},
      {"conv_absent_weights", "Conv", {image, none(), x({4})}},
      {"conv_transpose_stride_0", "ConvTranspose", {image, x({3, 4, 3, 3})}, {{"strides", Ints{0, 0}}}},
      {"conv_transpose_group_0", "ConvTranspose", {image, x({3, 4, 3, 3})}, {{"group", std::int64_t{0}}}},
      {"conv_transpose_channels", "ConvTranspose", {image, x({4, 4, 3, 3})}},
      {"conv_transpose_dilation", "ConvTranspose", {image, x({3, 4, 3, 3})}, {{"dilations", Ints{-1, 1}}}},
      {"conv_transpose_pads", "ConvTranspose", {image, x({3, 4, 3, 3})}, {{"pads", Ints{90, 90, 90, 90}}}},
      {"conv_transpose_groups_of_nothing", "ConvTranspose", {x({1, 0, 8, 8}), x({0, 4, 3, 3})}, {{"group", kMost}}},
      {"conv_integer_channels", "ConvInteger", {x({1, 3, 8, 8}, kU8), x({4, 2, 3, 3}, kU8)}},
      {"conv_integer_zero_points", "ConvInteger", {x({1, 3, 8, 8}, kU8), x({66, 3, 3, 3}, kU8), none(), x({2}, kU8)}},
      {"conv_integer_no_zero_point", "ConvInteger", {x({1, 3, 8, 8}, kU8), x({4, 3, 3, 3}, kU8), x({0}, kU8)}},
      {"conv_integer_zero_point_type", "ConvInteger", {x({1, 3, 8, 8}, kU8), x({4, 3, 3, 3}, kU8), x({}, kS8)}},
      {"max_pool_without_kernel", "MaxPool", {image}},
      {"max_pool_kernel_0", "MaxPool", {image}, {{"kernel_shape", Ints{0, 2}}}},
      {"max_pool_kernel_negative", "MaxPool", {image}, {{"kernel_shape", Ints{-2, 2}}}},
      {"max_pool_kernel_1d", "MaxPool", {image}, {{"kernel_shape", Ints{2}}}},
      {"max_pool_stride_0", "MaxPool", {image}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{0, 2}}}},
      {"max_pool_dilation_0", "MaxPool", {image}, {{"kernel_shape", Ints{2, 2}}, {"dilations", Ints{0, 2}}}},
      {"max_pool_overflow", "MaxPool", {image}, {{"kernel_shape", Ints{2, 2}}, {"dilations", Ints{kMost, 2}}}},
      {"max_pool_too_large", "MaxPool", {image}, {{"kernel_shape", Ints{9, 9}}}},
      {"average_pool_kernel_0", "AveragePool", {image}, {{"kernel_shape", Ints{0, 2}}}},
      {"average_pool_stride_negative", "AveragePool", {image}, {{"kernel_shape", Ints{2, 2}}, {"strides", Ints{-1, 1}}}},
      {"average_pool_pads", "AveragePool", {image}, {{"kernel_shape", Ints{2, 2}}, {"pads", Ints{1, 1}}}},
      {"lp_pool_kernel", "LpPool", {image}, {{"kernel_shape", Ints{-2, 2}}}},
      {"global_pool_rank", "GlobalAveragePool", {x({3})}},
      {"gemm_k", "Gemm", {x({2, 3}), x({4, 5})}},
      {"gemm_transposed_k", "Gemm", {x({2, 3}), x({3, 5})}, {{"transB", std::int64_t{1}}}},
      {"gemm_rank", "Gemm", {m, x({4, 5})}},
      {"gemm_bias", "Gemm", {x({2, 3}), x({3, 5}), x({4})}},
      {"gemm_one_input", "Gemm", {x({2, 3})}},
      {"mat_mul_k", "MatMul", {x({2, 3}), x({4, 5})}},
      {"mat_mul_scalar", "MatMul", {x({}), x({4, 5})}},
      {"mat_mul_batch", "MatMul", {x({2, 3, 4}), x({3, 4, 5})}},
      {"mat_mul_types", "MatMul", {x({2, 3}), x({3, 4}, kS64)}},
      {"mat_mul_integer_k", "MatMulInteger", {x({2, 3}, kU8), x({4, 5}, kU8)}},
      {"softmax_axis", "Softmax", {m}, {{"axis", std::int64_t{3}}}},
      {"softmax_axis_negative", "Softmax", {m}, {{"axis", std::int64_t{-4}}}},
      {"softmax_axis_least", "Softmax", {m}, {{"axis", kLeast}}},
      {"softmax_axis_text", "Softmax", {m}, {{"axis", std::string("last")}}},
      {"softmax_of_integers", "Softmax", {x({2, 3}, kS64)}},
      {"log_softmax_axis", "LogSoftmax", {m}, {{"axis", std::int64_t{7}}}},
      {"concat_axis", "Concat", {m, m}, {{"axis", std::int64_t{3}}}},
      {"concat_without_axis", "Concat", {m, m}},
      {"concat_ranks", "Concat", {m, x({2, 3})}, {{"axis", std::int64_t{0}}}},
      {"concat_dimensions", "Concat", {m, x({2, 4, 4})}, {{"axis", std::int64_t{0}}}},
      {"concat_types", "Concat", {m, x({2, 3, 4}, kS64)}, {{"axis", std::int64_t{0}}}},
      {"concat_nothing", "Concat", {}, {{"axis", std::int64_t{0}}}},
      {"split_sum", "Split", {m, ints({1, 1})}, {{"axis", std::int64_t{1}}}, 2},
      {"split_negative", "Split", {m, ints({-1, 4})}, {{"axis", std::int64_t{1}}}, 2},
      {"split_overflow", "Split", {m, ints({kMost, kMost})}, {{"axis", std::int64_t{1}}}, 2},
      {"split_count", "Split", {m, ints({1, 1, 1})}, {{"axis", std::int64_t{1}}}, 2},
      {"split_axis", "Split", {m, ints({1, 1})}, {{"axis", std::int64_t{5}}}, 2},
      {"split_outputs_0", "Split", {m}, {{"axis", std::int64_t{1}}, {"num_outputs", std::int64_t{0}}}, 2, 18},
      {"split_outputs_negative", "Split", {m}, {{"axis", std::int64_t{1}}, {"num_outputs", std::int64_t{-3}}}, 3, 18},
      {"transpose_twice", "Transpose", {m}, {{"perm", Ints{0, 1, 1}}}},
      {"transpose_beyond", "Transpose", {m}, {{"perm", Ints{0, 1, 3}}}},
      {"transpose_short", "Transpose", {m}, {{"perm", Ints{0, 1}}}},
      {"reshape_two_unknown", "Reshape", {m, ints({-1, -1})}},
      {"reshape_minus_2", "Reshape", {m, ints({-2, 12})}},
      {"reshape_count", "Reshape", {m, ints({5, 5})}},
      {"reshape_overflow", "Reshape", {m, ints({std::int64_t{1} << 40, std::int64_t{1} << 40})}},
      {"reshape_copies_beyond", "Reshape", {m, ints({2, 3, 4, 0})}},
      {"reshape_remainder", "Reshape", {m, ints({-1, 7})}},
      {"reshape_by_floats", "Reshape", {m, floats({24})}},
      {"squeeze_not_1", "Squeeze", {m, ints({1})}},
      {"squeeze_axis", "Squeeze", {m, ints({3})}},
      {"squeeze_twice", "Squeeze", {x({1, 1, 3}), ints({0, -3})}},
      {"unsqueeze_axis", "Unsqueeze", {m, ints({5})}},
      {"unsqueeze_twice", "Unsqueeze", {m, ints({1, 1})}},
      {"unsqueeze_without_axes", "Unsqueeze", {m}},
      {"flatten_axis", "Flatten", {m}, {{"axis", std::int64_t{4}}}},
      {"expand_shape", "Expand", {m, ints({2, 5, 4})}},
      {"expand_negative", "Expand", {x({1}), ints({-3})}},
      {"tile_negative", "Tile", {m, ints({1, -1, 1})}},
      {"tile_length", "Tile", {m, ints({1, 2})}},
      {"tile_overflow", "Tile", {m, ints({kMost, kMost, kMost})}},
      {"slice_step_0", "Slice", {m, ints({0}), ints({1}), ints({0}), ints({0})}},
      {"slice_lengths", "Slice", {m, ints({0, 0}), ints({1})}},
      {"slice_axis", "Slice", {m, ints({0}), ints({1}), ints({3})}},
      {"slice_axis_twice", "Slice", {m, ints({0, 0}), ints({1, 1}), ints({1, 1})}},
      {"gather_axis", "Gather", {m, ints({0})}, {{"axis", std::int64_t{3}}}},
      {"gather_by_floats", "Gather", {m, floats({0})}},
      {"gather_elements_rank", "GatherElements", {m, ints({0})}},
      {"gather_elements_axis", "GatherElements", {m, x({1, 1, 1}, kS64)}, {{"axis", std::int64_t{-4}}}},
      {"gather_nd_batch", "GatherND", {m, x({2, 1}, kS64)}, {{"batch_dims", std::int64_t{3}}}},
      {"gather_nd_depth", "GatherND", {m, x({2, 4}, kS64)}},
      {"scatter_elements_rank", "ScatterElements", {m, x({1}, kS64), x({1})}},
      {"scatter_elements_updates", "ScatterElements", {m, x({1, 1, 1}, kS64), x({1, 1, 2})}},
      {"scatter_nd_depth", "ScatterND", {m, x({1, 4}, kS64), x({1})}},
      {"pad_count", "Pad", {m, ints({1, 1})}},
      {"pad_mode", "Pad", {m, ints({1, 0, 0, 1, 0, 0})}, {{"mode", std::string("mirror")}}},
      {"pad_negative", "Pad", {m, ints({-5, 0, 0, 0, 0, 0})}},
      {"pad_overflow", "Pad", {m, ints({kMost, 0, 0, kMost, 0, 0})}},
      {"resize_scale_0", "Resize", {image, none(), floats({1, 1, 0, 1})}},
      {"resize_scale_negative", "Resize", {image, none(), floats({1, 1, -1, 1})}},
      {"resize_scale_nan", "Resize", {image, none(), floats({1, 1, NAN, 1})}},
      {"resize_scale_infinite", "Resize", {image, none(), floats({1, 1, INFINITY, 1})}},
      {"resize_scale_huge", "Resize", {image, none(), floats({1, 1, 1e30F, 1})}},
      {"resize_scales_3", "Resize", {image, none(), floats({1, 1, 2})}},
      {"resize_sizes_negative", "Resize", {image, none(), none(), ints({1, 3, -4, 4})}},
      {"resize_mode", "Resize", {image, none(), floats({1, 1, 2, 2})}, {{"mode", std::string("magic")}}},
      {"resize_coordinates",
       "Resize",
       {image, none(), floats({1, 1, 2, 2})},
       {{"coordinate_transformation_mode", std::string("somewhere")}}},
      {"resize_without_sizes", "Resize", {image}},
      {"top_k_negative", "TopK", {m, ints({-1})}, {}, 2},
      {"top_k_too_many", "TopK", {m, ints({9})}, {}, 2},
      {"top_k_axis", "TopK", {m, ints({1})}, {{"axis", std::int64_t{3}}}, 2},
      {"reduce_sum_axis", "ReduceSum", {m, ints({3})}},
      {"reduce_sum_twice", "ReduceSum", {m, ints({1, -2})}},
      {"reduce_mean_axis", "ReduceMean", {m}, {{"axes", Ints{-4}}}},
      {"reduce_max_axis", "ReduceMax", {m, ints({kMost})}, {}, 1, 18},
      {"arg_max_axis", "ArgMax", {m}, {{"axis", std::int64_t{3}}}},
      {"one_hot_depth", "OneHot", {x({3}, kS64), number(-2), floats({0, 1})}},
      {"one_hot_values", "OneHot", {x({3}, kS64), number(2), floats({0, 1, 2})}},
      {"one_hot_axis", "OneHot", {x({3}, kS64), number(2), floats({0, 1})}, {{"axis", std::int64_t{4}}}},
      {"cum_sum_axis", "CumSum", {m, number(3)}},
      {"depth_to_space_0", "DepthToSpace", {x({1, 8, 2, 2})}, {{"blocksize", std::int64_t{0}}}},
      {"depth_to_space_negative", "DepthToSpace", {x({1, 8, 2, 2})}, {{"blocksize", std::int64_t{-2}}}},
      {"depth_to_space_overflow", "DepthToSpace", {x({1, 8, 2, 2})}, {{"blocksize", kMost}}},
      {"depth_to_space_channels", "DepthToSpace", {x({1, 7, 2, 2})}, {{"blocksize", std::int64_t{2}}}},
      {"depth_to_space_rank", "DepthToSpace", {m}, {{"blocksize", std::int64_t{2}}}},
      {"space_to_depth_0", "SpaceToDepth", {x({1, 2, 4, 4})}, {{"blocksize", std::int64_t{0}}}},
      {"space_to_depth_remainder", "SpaceToDepth", {x({1, 2, 5, 4})}, {{"blocksize", std::int64_t{2}}}},
      {"layer_norm_axis", "LayerNormalization", {m, x({4})}, {{"axis", std::int64_t{3}}}},
      {"layer_norm_scale", "LayerNormalization", {m, x({5})}},
      {"batch_norm_channels", "BatchNormalization", {image, x({4}), x({3}), x({3}), x({3})}},
      {"batch_norm_rank", "BatchNormalization", {image, x({3, 1}), x({3}), x({3}), x({3})}},
      {"batch_norm_inputs", "BatchNormalization", {image, x({3}), x({3})}},
      {"instance_norm_channels", "InstanceNormalization", {image, x({4}), x({3})}},
      {"group_norm_groups_0", "GroupNormalization", {image, x({3}), x({3})}, {{"num_groups", std::int64_t{0}}}, 1, 21},
      {"group_norm_groups_2", "GroupNormalization", {image, x({3}), x({3})}, {{"num_groups", std::int64_t{2}}}, 1, 21},
      {"lrn_size_0", "LRN", {image}, {{"size", std::int64_t{0}}}},
      {"cast_to_99", "Cast", {m}, {{"to", std::int64_t{99}}}},
      {"cast_to_nothing", "Cast", {m}},
      {"cast_to_0", "Cast", {m}, {{"to", std::int64_t{0}}}},
      {"where_shapes", "Where", {x({2}, kBool), x({3}), x({3})}},
      {"where_condition", "Where", {x({3}), x({3}), x({3})}},
      {"where_types", "Where", {x({3}, kBool), x({3}), x({3}, kS64)}},
      {"add_shapes", "Add", {x({2, 3}), x({4})}},
      {"add_types", "Add", {x({2, 3}), x({3}, kS64)}},
      {"add_one_input", "Add", {x({2, 3})}},
      {"relu_two_inputs", "Relu", {m, m}},
      {"relu_no_input", "Relu", {}},
      {"and_of_floats", "And", {m, m}},
      {"not_of_floats", "Not", {m}},
      {"bit_shift_direction", "BitShift", {x({2}, kU8), x({2}, kU8)}, {{"direction", std::string("UP")}}},
      {"range_step_0", "Range", {number(0), number(9), number(0)}},
      {"range_types", "Range", {number(0), real(9), number(1)}},
      {"range_endless", "Range", {number(0), number(kMost), number(1)}},
      {"constant_of_shape_negative", "ConstantOfShape", {ints({2, -3})}},
      {"constant_of_shape_overflow", "ConstantOfShape", {ints({kMost, kMost})}},
      {"constant_without_value", "Constant", {}},
      {"constant_with_two_values", "Constant", {}, {{"value_int", std::int64_t{1}}, {"value_float", 1.0F}}},
      {"einsum_nonsense", "Einsum", {x({2, 3}), x({3, 4})}, {{"equation", std::string("ij,jk->il->")}}},
      {"einsum_terms", "Einsum", {x({2, 3}), x({3, 4})}, {{"equation", std::string("ij->i")}}},
      {"einsum_dimensions", "Einsum", {x({2, 3}), x({4, 4})}, {{"equation", std::string("ij,jk->ik")}}},
      {"if_without_branches", "If", {x({}, kBool)}},
      {"loop_without_body", "Loop", {number(3), none(), m}},
      {"scan_without_body", "Scan", {m}, {{"num_scan_inputs", std::int64_t{1}}}},
      {"quantize_axis", "QuantizeLinear", {m, floats({1, 1, 1})}, {{"axis", std::int64_t{3}}}},
      {"quantize_scales", "QuantizeLinear", {m, floats({1, 1})}, {{"axis", std::int64_t{1}}}},
      {"quantize_zero_points", "QuantizeLinear", {m, floats({1, 1, 1}), x({2}, kU8)}, {{"axis", std::int64_t{1}}}},
      {"quantize_zero_point_type", "QuantizeLinear", {m, real(1), real(0)}},
      {"quantize_block_negative", "QuantizeLinear", {m, x({2, 3, 2})}, {{"block_size", std::int64_t{-2}}}, 1, 21},
      {"dequantize_axis", "DequantizeLinear", {x({2, 3}, kU8), floats({1, 1, 1})}, {{"axis", std::int64_t{-3}}}},
      {"dequantize_scales", "DequantizeLinear", {x({2, 3}, kU8), floats({1, 1})}, {{"axis", std::int64_t{1}}}},
      {"dequantize_floats", "DequantizeLinear", {m, real(1)}},
      {"dequantize_zero_point_type", "DequantizeLinear", {x({2, 3}, kU8), real(1), x({}, kS8)}},
      {"dequantize_scale_rank", "DequantizeLinear", {x({2, 3}, kU8), x({2, 3})}},
      {"dynamic_quantize_integers", "DynamicQuantizeLinear", {x({2, 3}, kS64)}, {}, 3},
      {"qlinear_conv_inputs", "QLinearConv", {x({1, 3, 8, 8}, kU8), real(1), x({}, kU8), x({4, 3, 3, 3}, kS8)}},
      {"qlinear_conv_group",
       "QLinearConv",
       {x({1, 3, 8, 8}, kU8), real(1), x({}, kU8), x({4, 3, 3, 3}, kS8), real(1), x({}, kS8), real(1), x({}, kU8)},
       {{"group", std::int64_t{0}}}},
      {"qlinear_mat_mul_k",
       "QLinearMatMul",
       {x({2, 3}, kU8), real(1), x({}, kU8), x({4, 5}, kS8), real(1), x({}, kS8), real(1), x({}, kU8)}},
      {"lstm_weights", "LSTM", {x({4, 2, 5}), x({1, 12, 6}), x({1, 12, 3})}, {{"hidden_size", std::int64_t{3}}}},
      {"lstm_recurrence", "LSTM", {x({4, 2, 5}), x({1, 12, 5}), x({1, 12, 4})}, {{"hidden_size", std::int64_t{3}}}},
      {"lstm_direction",
       "LSTM",
       {x({4, 2, 5}), x({1, 12, 5}), x({1, 12, 3})},
       {{"hidden_size", std::int64_t{3}}, {"direction", std::string("sideways")}}},
      {"gru_weights", "GRU", {x({4, 2, 5}), x({1, 9, 6}), x({1, 9, 3})}, {{"hidden_size", std::int64_t{3}}}},
      {"prelu_slope", "PRelu", {m, x({5})}},
      {"clip_bounds", "Clip", {m, ints({1})}},
      {"trilu_rank", "Trilu", {x({3})}},
      {"reverse_sequence_axes",
       "ReverseSequence",
       {m, x({3}, kS64)},
       {{"batch_axis", std::int64_t{1}}, {"time_axis", std::int64_t{1}}}},
  };
  return all;
}

}  // namespace

std::vector<HostileModel> hostile_operators() {
  std::vector<HostileModel> models;
  for (const Bad& bad : list())
    models.push_back({"op_" + std::string(bad.name), build(bad).SerializeAsString(), ErrorCode::kOk, bad.cause,
                      HostileModel::Stage::kMeaning});
  return models;
}

}  // namespace zeropoint
