// Each function brings one operator from the version before to the one that the table names. Operators that only take more
// types or more optional arguments need none.
#include "ops/opset/adapters.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_map>
#include <utility>

#include "numerics/float16.h"
#include "ops/rules.h"

namespace zeropoint::ops {

std::string Adaption::add_before(std::string op_type, std::vector<std::string> inputs,
                                 std::map<std::string, Attribute> attributes) {
  Node added;
  added.name = node.name.empty() ? "" : fresh_node_name(node.name + "_" + op_type);
  const std::string output = fresh_name(node.outputs[0] + "_" + op_type);
  added.op_type = std::move(op_type);
  added.inputs = std::move(inputs);
  added.outputs = {output};
  added.attributes = std::move(attributes);
  before.push_back(std::move(added));
  return output;
}

void Adaption::add_after(std::size_t output, std::string op_type, std::vector<std::string> more_inputs,
                         std::map<std::string, Attribute> attributes) {
  Node added;
  added.name = node.name.empty() ? "" : fresh_node_name(node.name + "_" + op_type);
  added.op_type = std::move(op_type);
  const std::string inner = fresh_name(node.outputs[output] + "_inner");
  added.inputs = {inner};
  added.inputs.insert(added.inputs.end(), more_inputs.begin(), more_inputs.end());
  added.outputs = {std::exchange(node.outputs[output], inner)};
  added.attributes = std::move(attributes);
  after.push_back(std::move(added));
}

void Adaption::set_input(std::size_t position, std::string value) {
  if (node.inputs.size() <= position) node.inputs.resize(position + 1);
  node.inputs[position] = std::move(value);
}

void Adaption::ints_to_input(const std::string& attribute, std::size_t position) {
  const Attribute* found = node.find(attribute);
  if (!found) return;
  const auto* one = std::get_if<std::int64_t>(found);
  const auto values = one ? std::vector<std::int64_t>{*one} : node.get_ints(attribute);
  node.attributes.erase(attribute);
  set_input(position, constant(attribute, Tensor::of_ints(values)));
}

void Adaption::refuse(const std::string& why) const {
  throw Error(ErrorCode::kUnsupported, describe(node), why + "; export the model with a newer opset");
}

namespace {

// TensorProto.DataType of the types that adapters cast to.
std::int64_t onnx_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return 1;
    case DType::f16:
      return 10;
    case DType::f64:
      return 11;
    case DType::bf16:
      return 16;
    case DType::s64:
      return 7;
    case DType::s32:
      return 6;
    default:
      return 0;
  }
}

// A number in the type of `like`; f32 where that is not known, as almost always.
Tensor number(const Adaption& at, const std::string& like, float value, Dims dims = {}) {
  switch (at.type_of(like).dtype) {
    case DType::f64:
      return Tensor::of<double>(std::move(dims), std::vector<double>{static_cast<double>(value)});
    case DType::f16:
    case DType::bf16:
      return narrowed(Tensor::of<float>(std::move(dims), std::vector<float>{value}), at.type_of(like).dtype);
    case DType::s64:
      return Tensor::of<std::int64_t>(std::move(dims), std::vector<std::int64_t>{static_cast<std::int64_t>(value)});
    case DType::s32:
      return Tensor::of<std::int32_t>(std::move(dims), std::vector<std::int32_t>{static_cast<std::int32_t>(value)});
    default:
      return Tensor::of<float>(std::move(dims), std::vector<float>{value});
  }
}

// ---- 9

// `spatial` 0: statistics for each position of a sample, [C,D1,...], which no later version has: the formula, written out.
void batch_normalization_9(Adaption& at) {
  const bool spatial = at.node.get_int("spatial", 1) != 0;
  at.node.attributes.erase("spatial");
  if (spatial) return;
  const Node& node = at.node;
  const std::string epsilon = at.constant("epsilon", number(at, node.input(0), node.get_float("epsilon", 1e-5F)));
  const std::string centered = at.add_before("Sub", {node.input(0), node.input(3)});
  const std::string variance = at.add_before("Add", {node.input(4), epsilon});
  const std::string deviation = at.add_before("Sqrt", {variance});
  const std::string normalized = at.add_before("Div", {centered, deviation});
  const std::string scaled = at.add_before("Mul", {normalized, node.input(1)});
  at.add_before("Add", {scaled, node.input(2)});
  at.before.back().outputs = {node.outputs[0]};
  at.dropped = true;
}

void upsample_9(Adaption& at) {
  const std::vector<float> scales = at.node.get_floats("scales");
  if (scales.empty()) at.refuse("has no scales");
  at.node.attributes.erase("scales");
  at.set_input(1, at.constant("scales", Tensor::of<float>({static_cast<std::int64_t>(scales.size())}, scales)));
}

// Version 8 works on a batch of sequences with a length each.
void scan_9(Adaption& at) { at.refuse("a Scan over a batch of sequences, as it was in opset 8, has no newer form"); }

// ---- 10

void upsample_10(Adaption& at) {
  at.node.op_type = "Resize";
  if (at.target > 10 && at.node.get_string("mode", "nearest") == "nearest")
    at.node.attributes["nearest_mode"] = std::string("floor");
}

// The mask was of the input's type, and is of bools.
void dropout_10(Adaption& at) {
  if (at.node.outputs.size() < 2 || at.node.outputs[1].empty()) return;
  if (!at.is_read(at.node.outputs[1])) {
    at.node.outputs.resize(1);
    return;
  }
  const std::int64_t type = onnx_type(at.type_of(at.node.input(0)).dtype);
  if (type == 0) at.refuse("the type of its mask is not known");
  at.add_after(1, "Cast", {}, {{"to", type}});
}

void slice_10(Adaption& at) {
  const std::vector<std::int64_t> starts = at.node.get_ints("starts"), ends = at.node.get_ints("ends");
  at.node.attributes.erase("starts");
  at.node.attributes.erase("ends");
  at.set_input(1, at.constant("starts", Tensor::of_ints(starts)));
  at.set_input(2, at.constant("ends", Tensor::of_ints(ends)));
  at.ints_to_input("axes", 3);
}

void top_k_10(Adaption& at) { at.ints_to_input("k", 1); }

// ---- 11

void clip_11(Adaption& at) {
  std::size_t position = 1;
  for (const char* bound : {"min", "max"}) {
    if (at.node.find(bound)) {
      const float value = at.node.get_float(bound, 0);
      at.node.attributes.erase(bound);
      at.set_input(position, at.constant(bound, number(at, at.node.input(0), value)));
    }
    ++position;
  }
}

void pad_11(Adaption& at) {
  const float value = at.node.get_float("value", 0);
  at.node.attributes.erase("value");
  if (!at.node.find("pads")) at.refuse("has no pads");
  at.ints_to_input("pads", 1);
  if (value != 0) at.set_input(2, at.constant("value", number(at, at.node.input(0), value)));
}

// What it did since version 10 has names since 11. The nearest pixel was rounded down for more pixels and up for fewer.
void resize_11(Adaption& at) {
  const std::string scales = at.node.input(1);
  at.node.attributes["coordinate_transformation_mode"] = std::string("asymmetric");
  const std::string roi = at.constant("roi", Tensor(DType::f32, {0}));
  at.set_input(1, roi);
  at.set_input(2, scales);
  if (at.node.get_string("mode", "nearest") != "nearest" || at.node.find("nearest_mode")) return;
  const Tensor* known = at.constant_of(scales);
  if (!known || known->dtype() != DType::f32) at.refuse("whether it makes more pixels or fewer must be known");
  std::vector<float> up, down;
  for (const float scale : known->values<float>()) {
    up.push_back(std::max(scale, 1.0F));
    down.push_back(std::min(scale, 1.0F));
  }
  const auto is_one = [](float scale) { return scale == 1; };
  const bool fewer = !std::all_of(down.begin(), down.end(), is_one), more = !std::all_of(up.begin(), up.end(), is_one);
  if (fewer && more) {  // one after the other
    const auto list = [&](const char* what, const std::vector<float>& values) {
      return at.constant(what, Tensor::of<float>({static_cast<std::int64_t>(values.size())}, values));
    };
    std::map<std::string, Attribute> attributes = at.node.attributes;
    attributes["nearest_mode"] = std::string("floor");
    const std::string grown = at.add_before("Resize", {at.node.input(0), roi, list("scales_up", up)}, attributes);
    at.set_input(0, grown);
    at.set_input(2, list("scales_down", down));
  }
  at.node.attributes["nearest_mode"] = std::string(fewer ? "ceil" : "floor");
}

void scatter_11(Adaption& at) { at.node.op_type = "ScatterElements"; }

// Negative indices counted from the end since 11; before they meant a row without hit.
void one_hot_11(Adaption& at) {
  const Tensor* indices = at.constant_of(at.node.input(0));
  const DType dtype = at.type_of(at.node.input(0)).dtype;
  if (indices && dtype == DType::s64) {
    const auto values = indices->values<std::int64_t>();
    if (std::none_of(values.begin(), values.end(), [](std::int64_t index) { return index < 0; })) return;
  }
  if (dtype == DType::u8 || dtype == DType::u16 || dtype == DType::u32 || dtype == DType::u64) return;
  const std::int64_t type = onnx_type(dtype);
  if (type == 0) at.refuse("the type of its indices is not known, or not one that can be compared");
  const std::string zero = at.constant("zero", number(at, at.node.input(0), 0));
  const std::string negative = at.add_before("Less", {at.node.input(0), zero});
  const std::string depth = at.add_before("Cast", {at.node.input(1)}, {{"to", type}});
  at.set_input(0, at.add_before("Where", {negative, depth, at.node.input(0)}));
}

// ---- 12

// The ratio means nothing at inference.
void dropout_12(Adaption& at) {
  at.node.attributes.erase("ratio");
  at.node.attributes.erase("seed");
}

// ---- 13

void axes_to_input(Adaption& at) { at.ints_to_input("axes", 1); }
void split_13(Adaption& at) { at.ints_to_input("split", 1); }

// Before 13 the input was flattened to 2 dimensions at `axis`: one distribution over all axes from there on. Where only one of
// them is not 1, that equals the newer form along it.
void softmax_13(Adaption& at) {
  const std::int64_t axis = at.node.get_int("axis", 1);
  const std::string input = at.node.input(0);
  const TensorType type = at.type_of(input);
  if (axis == -1) {
    at.node.attributes["axis"] = axis;
    return;
  }
  if (type.shape) {
    const auto rank = static_cast<std::int64_t>(type.shape->size());
    const std::int64_t first = axis < 0 ? axis + rank : axis;
    const auto is_one = [&](std::int64_t i) { return (*type.shape)[static_cast<std::size_t>(i)] == Dim(1); };
    std::vector<std::int64_t> wide;
    for (std::int64_t i = std::max<std::int64_t>(first, 0); i < rank; ++i)
      if (!is_one(i)) wide.push_back(i);
    if (first >= 0 && first < rank && wide.size() <= 1) {
      const std::int64_t along = wide.empty() ? rank - 1 : wide[0];
      at.node.attributes["axis"] = along == rank - 1 ? -1 : along;
      return;
    }
  }
  const std::string shape = at.add_before("Shape", {input});
  const std::string flat = at.add_before("Flatten", {input}, {{"axis", axis}});
  at.set_input(0, flat);
  at.node.attributes["axis"] = std::int64_t{-1};
  at.add_after(0, "Reshape", {shape});
}

void resize_13(Adaption& at) {
  // Not required any more, and newer versions refuse both scales and sizes.
  for (const std::size_t position : {std::size_t{1}, std::size_t{2}})
    if (const Tensor* given = at.constant_of(at.node.input(position)); given && given->size() == 0)
      at.node.inputs[position].clear();
  while (!at.node.inputs.empty() && at.node.inputs.back().empty()) at.node.inputs.pop_back();
  if (at.node.get_string("coordinate_transformation_mode", "half_pixel") != "tf_half_pixel_for_nn") return;
  // It lies half a pixel right of half_pixel: rounding down becomes rounding to the nearest, and so on.
  const std::string rounding = at.node.get_string("nearest_mode", "round_prefer_floor");
  const bool nearest = at.node.get_string("mode", "nearest") == "nearest";
  if (!nearest || (rounding != "floor" && rounding != "round_prefer_floor"))
    at.refuse("its coordinate_transformation_mode tf_half_pixel_for_nn ended with opset 12");
  at.node.attributes["coordinate_transformation_mode"] = std::string("half_pixel");
  at.node.attributes["nearest_mode"] = std::string(rounding == "floor" ? "round_prefer_ceil" : "ceil");
}

// Scale and zero point had no axis; a list of one number has none either.
void quantize_13(Adaption& at) {
  for (const std::size_t position : {std::size_t{1}, std::size_t{2}}) {
    const Tensor* given = at.constant_of(at.node.input(position));
    if (given && given->rank() == 1 && given->size() == 1)
      at.node.inputs[position] = at.constant(position == 1 ? "scale" : "zero_point", given->reshaped({}));
  }
}

// ---- 14

// Running and saved statistics were outputs of training.
void batch_normalization_14(Adaption& at) {
  for (std::size_t i = 1; i < at.node.outputs.size(); ++i)
    if (!at.node.outputs[i].empty() && at.is_read(at.node.outputs[i])) at.refuse("gives statistics, as in training");
  at.node.outputs.resize(1);
}

// ---- 16

void roi_align_16(Adaption& at) {
  at.node.attributes.emplace("coordinate_transformation_mode", std::string("output_half_pixel"));
}

// ---- 18

void split_18(Adaption& at) {
  if (at.node.input(1).empty()) at.node.attributes["num_outputs"] = static_cast<std::int64_t>(at.node.outputs.size());
}

// ---- 20

void dft_20(Adaption& at) {
  const std::int64_t axis = at.node.get_int("axis", 1);
  at.node.attributes.erase("axis");
  at.set_input(2, at.constant("axis", Tensor::scalar(axis)));
}

void grid_sample_20(Adaption& at) {
  const std::string mode = at.node.get_string("mode", "bilinear");
  at.node.attributes["mode"] = mode == "bilinear" ? std::string("linear") : mode == "bicubic" ? std::string("cubic") : mode;
}

// ---- 21

// Scale and bias are one number a channel in place of one a group: each is repeated.
void group_normalization_21(Adaption& at) {
  const std::int64_t groups = at.node.get_int("num_groups", 0);
  if (groups < 1) at.refuse("has no groups");
  const auto one = [&](std::int64_t value) { return Tensor::of_ints({value}); };
  const std::string channels =
      at.add_before("Shape", {at.node.input(0)}, {{"start", std::int64_t{1}}, {"end", std::int64_t{2}}});
  const std::string count = at.constant("groups", one(groups));
  const std::string each = at.add_before("Div", {channels, count});
  const std::string repeated = at.add_before("Concat", {count, each}, {{"axis", std::int64_t{0}}});
  const std::string column = at.constant("column", Tensor::of_ints({-1, 1})), flat = at.constant("flat", one(-1));
  for (const std::size_t position : {std::size_t{1}, std::size_t{2}}) {
    const std::string standing = at.add_before("Reshape", {at.node.input(position), column});
    const std::string wide = at.add_before("Expand", {standing, repeated});
    at.set_input(position, at.add_before("Reshape", {wide, flat}));
  }
}

constexpr Adapter kAdapters[] = {
    {"BatchNormalization", 9, batch_normalization_9},
    {"Scan", 9, scan_9},
    {"Upsample", 9, upsample_9},
    {"Dropout", 10, dropout_10},
    {"Slice", 10, slice_10},
    {"TopK", 10, top_k_10},
    {"Upsample", 10, upsample_10},
    {"Clip", 11, clip_11},
    {"OneHot", 11, one_hot_11},
    {"Pad", 11, pad_11},
    {"Resize", 11, resize_11},
    {"Scatter", 11, scatter_11},
    {"Dropout", 12, dropout_12},
    {"DequantizeLinear", 13, quantize_13},
    {"Hardmax", 13, softmax_13},
    {"LogSoftmax", 13, softmax_13},
    {"QuantizeLinear", 13, quantize_13},
    {"ReduceSum", 13, axes_to_input},
    {"Resize", 13, resize_13},
    {"Softmax", 13, softmax_13},
    {"Split", 13, split_13},
    {"Squeeze", 13, axes_to_input},
    {"Unsqueeze", 13, axes_to_input},
    {"BatchNormalization", 14, batch_normalization_14},
    {"RoiAlign", 16, roi_align_16},
    {"ReduceL1", 18, axes_to_input},
    {"ReduceL2", 18, axes_to_input},
    {"ReduceLogSum", 18, axes_to_input},
    {"ReduceLogSumExp", 18, axes_to_input},
    {"ReduceMax", 18, axes_to_input},
    {"ReduceMean", 18, axes_to_input},
    {"ReduceMin", 18, axes_to_input},
    {"ReduceProd", 18, axes_to_input},
    {"ReduceSumSquare", 18, axes_to_input},
    {"Split", 18, split_18},
    {"DFT", 20, dft_20},
    {"GridSample", 20, grid_sample_20},
    {"GroupNormalization", 21, group_normalization_21},
};

}  // namespace

const std::vector<Adapter>* adapters_of(std::string_view op_type) {
  static const auto table = [] {
    std::unordered_map<std::string_view, std::vector<Adapter>> by_operator;
    for (const Adapter& adapter : kAdapters) by_operator[adapter.op_type].push_back(adapter);
    return by_operator;
  }();
  const auto found = table.find(op_type);
  return found == table.end() ? nullptr : &found->second;
}

}  // namespace zeropoint::ops
