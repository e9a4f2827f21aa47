// Models for tests, made of protobuf messages.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "onnx-ml.pb.h"

namespace zeropoint {

// A field that no schema has: number 900, a string.
inline void add_unknown_field(::google::protobuf::MessageLite&, std::string& unknown_fields, const std::string& text) {
  unknown_fields += std::string("\xa2\x38", 2) + static_cast<char>(text.size()) + text;
}
template <class Proto>
void add_unknown_field(Proto& proto, const std::string& text) {
  add_unknown_field(proto, *proto.mutable_unknown_fields(), text);
}

template <class List>
void add_entry(List* entries, const std::string& key, const std::string& value) {
  auto& entry = *entries->Add();
  entry.set_key(key);
  entry.set_value(value);
}

inline ::onnx::NodeProto& add_node(::onnx::GraphProto& graph, const std::string& op_type,
                                   const std::vector<std::string>& inputs, const std::vector<std::string>& outputs) {
  auto& node = *graph.add_node();
  node.set_op_type(op_type);
  for (const std::string& input : inputs) node.add_input(input);
  for (const std::string& output : outputs) node.add_output(output);
  return node;
}

inline ::onnx::ValueInfoProto& set_tensor(::onnx::ValueInfoProto& info, const std::string& name, std::int32_t type,
                                          const std::vector<std::int64_t>& dims) {
  info.set_name(name);
  auto& tensor = *info.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(type);
  tensor.mutable_shape();
  for (const std::int64_t dim : dims) {
    auto& out = *tensor.mutable_shape()->add_dim();
    if (dim >= 0) {
      out.set_dim_value(dim);
    } else {
      out.set_dim_param("N");
    }
  }
  return info;
}

// x -> Relu -> y
inline ::onnx::ModelProto small_model() {
  ::onnx::ModelProto model;
  model.set_ir_version(8);
  auto& import = *model.add_opset_import();
  import.set_version(17);
  auto& graph = *model.mutable_graph();
  graph.set_name("small");
  set_tensor(*graph.add_input(), "x", 1, {-1, 3});
  set_tensor(*graph.add_output(), "y", 1, {-1, 3});
  add_node(graph, "Relu", {"x"}, {"y"}).set_name("relu");
  return model;
}

inline ::onnx::TensorProto f32_tensor(const std::string& name, const std::vector<std::int64_t>& dims) {
  ::onnx::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(::onnx::TensorProto::FLOAT);
  std::size_t count = 1;
  for (const std::int64_t dim : dims) {
    tensor.add_dims(dim);
    count *= static_cast<std::size_t>(dim);
  }
  std::string bytes(count * 4, '\0');
  for (std::size_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(i) * 0.5F;
    std::memcpy(bytes.data() + i * 4, &value, 4);
  }
  tensor.set_raw_data(bytes);
  return tensor;
}

// Something in every field of the schema that may come up, unknown fields at every level, and each element type both as raw
// and as typed data.
inline ::onnx::ModelProto rich_model() {
  using ::onnx::AttributeProto;
  using ::onnx::TensorProto;
  ::onnx::ModelProto model = small_model();
  model.set_producer_name("test");
  model.set_producer_version("1");
  model.set_domain("example");
  model.set_model_version(3);
  model.set_doc_string("of the model");
  add_entry(model.mutable_metadata_props(), "key", "value");
  add_unknown_field(model, "newer model field");
  auto& import = *model.add_opset_import();
  import.set_domain("com.example");
  import.set_version(1);
  auto& configuration = *model.add_configuration();
  configuration.set_name("two devices");
  configuration.set_num_devices(2);

  auto& function = *model.add_functions();
  function.set_name("Twice");
  function.set_domain("com.example");
  function.add_input("a");
  function.add_output("b");
  function.add_attribute("scale");
  function.add_opset_import()->set_version(17);
  ::onnx::NodeProto& inner = *function.add_node();
  inner.set_op_type("Constant");
  inner.add_output("b");
  auto& referred = *inner.add_attribute();
  referred.set_name("value");
  referred.set_type(AttributeProto::TENSOR);
  *referred.mutable_t() = f32_tensor("in a function", {100});

  auto& training = *model.add_training_info();
  *training.mutable_initialization()->add_initializer() = f32_tensor("training", {70});
  add_entry(training.mutable_update_binding(), "w", "w_new");

  auto& graph = *model.mutable_graph();
  graph.set_doc_string("of the graph");
  add_entry(graph.mutable_metadata_props(), "graph key", "graph value");
  add_unknown_field(graph, "newer graph field");
  auto& annotation = *graph.add_quantization_annotation();
  annotation.set_tensor_name("x");
  add_entry(annotation.mutable_quant_parameter_tensor_names(), "SCALE_TENSOR", "w");

  auto& input = *graph.mutable_input(0);
  input.set_doc_string("of the input");
  add_entry(input.mutable_metadata_props(), "input key", "input value");
  add_unknown_field(input, "newer value info field");
  add_unknown_field(*input.mutable_type(), "newer type field");
  input.mutable_type()->set_denotation("IMAGE");
  auto& shape = *input.mutable_type()->mutable_tensor_type()->mutable_shape();
  shape.mutable_dim(1)->set_denotation("DATA_CHANNEL");
  add_unknown_field(*shape.mutable_dim(0), "newer dimension field");
  add_unknown_field(shape, "newer shape field");

  // An input that has a default, between two that have none.
  set_tensor(*graph.add_input(), "w", 1, {10, 30}).set_doc_string("may be replaced");
  set_tensor(*graph.add_input(), "text", TensorProto::STRING, {2});
  auto& sequence = *graph.add_input();
  sequence.set_name("sequence");
  sequence.mutable_type()->mutable_sequence_type()->mutable_elem_type()->mutable_tensor_type()->set_elem_type(1);
  auto& old_style = set_tensor(*graph.add_input(), "old", 1, {});
  old_style.mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(-1);
  graph.add_input()->set_name("untyped");

  auto& w = *graph.add_initializer() = f32_tensor("w", {10, 30});
  (void)w;
  graph.mutable_initializer(0)->set_doc_string("of the weights");
  add_entry(graph.mutable_initializer(0)->mutable_metadata_props(), "tensor key", "tensor value");
  add_unknown_field(*graph.mutable_initializer(0), "newer tensor field");

  auto& sparse = *graph.add_sparse_initializer();
  *sparse.mutable_values() = f32_tensor("sparse", {2});
  auto& indices = *sparse.mutable_indices();
  indices.set_data_type(TensorProto::INT64);
  indices.add_dims(2);
  indices.add_int64_data(3);
  indices.add_int64_data(70);
  sparse.add_dims(10);
  sparse.add_dims(10);

  set_tensor(*graph.add_value_info(), "inner", 1, {-1, 3}).set_doc_string("of an inner value");

  // Every element type, as typed data.
  for (std::int32_t type = 1; type <= TensorProto::FLOAT6E3M2; ++type) {
    TensorProto tensor;
    tensor.set_name("typed" + std::to_string(type));
    tensor.set_data_type(type);
    tensor.add_dims(3);
    const bool nibbles = type == TensorProto::INT4 || type == TensorProto::UINT4 || type == TensorProto::FLOAT4E2M1;
    const bool quarters = type == TensorProto::INT2 || type == TensorProto::UINT2;
    for (int i = 0; i < (nibbles ? 2 : quarters ? 1 : 3); ++i) {
      switch (type) {
        case TensorProto::FLOAT:
          tensor.add_float_data(0.1F * static_cast<float>(i));
          break;
        case TensorProto::COMPLEX64:
          tensor.add_float_data(1), tensor.add_float_data(2);
          break;
        case TensorProto::DOUBLE:
          tensor.add_double_data(0.1 * i);
          break;
        case TensorProto::COMPLEX128:
          tensor.add_double_data(1), tensor.add_double_data(2);
          break;
        case TensorProto::INT64:
          tensor.add_int64_data(i - 1);
          break;
        case TensorProto::UINT32:
        case TensorProto::UINT64:
          tensor.add_uint64_data(static_cast<std::uint64_t>(i) + 4000000000);
          break;
        case TensorProto::STRING:
          tensor.add_string_data("a\xff");
          break;
        case TensorProto::BOOL:
          tensor.add_int32_data(i % 2);
          break;
        case TensorProto::INT8:
        case TensorProto::INT16:
        case TensorProto::INT32:
          tensor.add_int32_data(i - 1);
          break;
        default:
          tensor.add_int32_data(i + 1);
          break;
      }
    }
    *graph.add_initializer() = tensor;
  }
  // Two in raw form whose types are not read, one of them newer than the schema.
  for (const std::int32_t type : {static_cast<std::int32_t>(TensorProto::FLOAT6E3M2), 77}) {
    TensorProto& tensor = *graph.add_initializer();
    tensor.set_name("raw" + std::to_string(type));
    tensor.set_data_type(type);
    tensor.add_dims(300);
    tensor.set_raw_data(std::string(300, '\x11'));
  }

  // Every kind of attribute.
  auto& node = add_node(graph, "Everything", {"x", "", "w"}, {"inner", ""});
  node.set_domain("com.example");
  node.set_overload("o");
  node.set_doc_string("of the node");
  add_entry(node.mutable_metadata_props(), "node key", "node value");
  node.add_device_configurations()->set_configuration_id("two devices");
  add_unknown_field(node, "newer node field");
  const auto attribute = [&](const std::string& name, AttributeProto::AttributeType type) -> AttributeProto& {
    auto& out = *node.add_attribute();
    out.set_name(name);
    out.set_type(type);
    return out;
  };
  attribute("float", AttributeProto::FLOAT).set_f(0.5F);
  attribute("int", AttributeProto::INT).set_i(-3);
  attribute("string", AttributeProto::STRING).set_s("a\xff");
  attribute("floats", AttributeProto::FLOATS).add_floats(0.25F);
  attribute("no floats", AttributeProto::FLOATS);
  attribute("ints", AttributeProto::INTS).add_ints(7);
  attribute("strings", AttributeProto::STRINGS).add_strings("s");
  auto& tensor = attribute("tensor", AttributeProto::TENSOR);
  *tensor.mutable_t() = f32_tensor("named tensor", {80});
  tensor.mutable_t()->set_doc_string("of a tensor");
  tensor.set_doc_string("of the attribute");
  add_unknown_field(tensor, "newer attribute field");
  *attribute("tensors", AttributeProto::TENSORS).add_tensors() = f32_tensor("", {90});
  *attribute("tensors", AttributeProto::TENSORS).add_tensors() = f32_tensor("second", {2});
  node.mutable_attribute()->rbegin()->set_name("named tensors");
  attribute("sparse", AttributeProto::SPARSE_TENSOR).mutable_sparse_tensor()->mutable_values()->set_data_type(1);
  attribute("type", AttributeProto::TYPE_PROTO).mutable_tp()->mutable_tensor_type()->set_elem_type(1);
  attribute("types", AttributeProto::TYPE_PROTOS).add_type_protos();
  *attribute("graphs", AttributeProto::GRAPHS).add_graphs()->add_initializer() = f32_tensor("in graphs", {75});
  auto& newer = *node.add_attribute();  // type 99 and a value in field 900
  newer.set_name("newer kind");
  *newer.mutable_unknown_fields() = std::string("\xa0\x01\x63", 3);
  add_unknown_field(newer, "value");
  *newer.mutable_t() = f32_tensor("beside", {64});

  auto& loop = add_node(graph, "If", {"typed9"}, {"y"});
  graph.mutable_node()->SwapElements(0, 2);  // the If where the Relu was
  for (const char* branch : {"then_branch", "else_branch"}) {
    auto& body = *loop.add_attribute();
    body.set_name(branch);
    body.set_type(AttributeProto::GRAPH);
    auto& subgraph = *body.mutable_g();
    subgraph.set_name(branch);
    subgraph.set_doc_string("of the branch");
    add_unknown_field(subgraph, "newer subgraph field");
    *subgraph.add_initializer() = f32_tensor("bias", {3});
    add_node(subgraph, "Add", {"inner", "bias"}, {"sum"});
    set_tensor(*subgraph.add_output(), "sum", 1, {-1, 3});
  }
  // In order: Everything, If; the Relu of the small model goes.
  graph.mutable_node()->RemoveLast();
  graph.mutable_node()->SwapElements(0, 1);
  return model;
}

// ---- one form for models of equal meaning, to compare them byte by byte

template <class T, class List>
void move_data(List* list, ::onnx::TensorProto& tensor) {
  if (list->empty()) return;
  std::string bytes;
  for (const auto value : *list) {
    const T narrow = static_cast<T>(value);
    bytes.append(reinterpret_cast<const char*>(&narrow), sizeof narrow);
  }
  tensor.set_raw_data(bytes);
  list->Clear();
}

inline void normalize(::onnx::TensorProto& tensor) {
  using ::onnx::TensorProto;
  switch (tensor.data_type()) {
    case TensorProto::FLOAT:
      move_data<float>(tensor.mutable_float_data(), tensor);
      break;
    case TensorProto::DOUBLE:
      move_data<double>(tensor.mutable_double_data(), tensor);
      break;
    case TensorProto::INT64:
      move_data<std::int64_t>(tensor.mutable_int64_data(), tensor);
      break;
    case TensorProto::UINT32:
      move_data<std::uint32_t>(tensor.mutable_uint64_data(), tensor);
      break;
    case TensorProto::UINT64:
      move_data<std::uint64_t>(tensor.mutable_uint64_data(), tensor);
      break;
    case TensorProto::INT32:
      move_data<std::int32_t>(tensor.mutable_int32_data(), tensor);
      break;
    case TensorProto::INT16:
    case TensorProto::UINT16:
    case TensorProto::FLOAT16:
    case TensorProto::BFLOAT16:
      move_data<std::int16_t>(tensor.mutable_int32_data(), tensor);
      break;
    case TensorProto::INT8:
    case TensorProto::UINT8:
    case TensorProto::BOOL:
    case TensorProto::INT4:
    case TensorProto::UINT4:
    case TensorProto::INT2:
    case TensorProto::UINT2:
    case TensorProto::FLOAT8E4M3FN:
    case TensorProto::FLOAT8E4M3FNUZ:
    case TensorProto::FLOAT8E5M2:
    case TensorProto::FLOAT8E5M2FNUZ:
    case TensorProto::FLOAT8E8M0:
    case TensorProto::FLOAT4E2M1:
      move_data<std::int8_t>(tensor.mutable_int32_data(), tensor);
      break;
    default:
      return;
  }
  tensor.set_raw_data(tensor.raw_data());  // present even when empty
  if (tensor.data_location() == TensorProto::DEFAULT) tensor.clear_data_location();
  if (tensor.name().empty()) tensor.clear_name();
  if (tensor.doc_string().empty()) tensor.clear_doc_string();
}

template <class List, class Key>
void sort_by(List* list, const Key& key) {
  std::sort(list->pointer_begin(), list->pointer_end(), [&](const auto* a, const auto* b) { return key(*a) < key(*b); });
}

inline void normalize(::onnx::GraphProto& graph);
inline void normalize(::onnx::NodeProto& node) {
  if (node.name().empty()) node.clear_name();
  if (node.domain().empty() || node.domain() == "ai.onnx") node.clear_domain();
  sort_by(node.mutable_attribute(), [](const auto& attribute) { return attribute.name(); });
  for (auto& attribute : *node.mutable_attribute()) {
    if (attribute.has_t()) normalize(*attribute.mutable_t());
    for (auto& tensor : *attribute.mutable_tensors()) normalize(tensor);
    if (attribute.has_g()) normalize(*attribute.mutable_g());
    if (attribute.type() == ::onnx::AttributeProto::INT) attribute.set_i(attribute.i());
    if (attribute.type() == ::onnx::AttributeProto::FLOAT) attribute.set_f(attribute.f());
    if (attribute.type() == ::onnx::AttributeProto::STRING) attribute.set_s(attribute.s());
  }
}

inline void normalize(::onnx::ValueInfoProto& info) {
  auto& type = *info.mutable_type();
  if (type.has_tensor_type()) {
    if (type.tensor_type().elem_type() == 0) type.mutable_tensor_type()->clear_elem_type();
    if (type.tensor_type().has_shape())
      for (auto& dim : *type.mutable_tensor_type()->mutable_shape()->mutable_dim())
        if (dim.has_dim_param() && dim.dim_param().empty()) dim.clear_dim_param();
    if (type.tensor_type().ByteSizeLong() == 0) type.clear_tensor_type();
  }
  if (type.ByteSizeLong() == 0) info.clear_type();
}

inline void normalize(::onnx::GraphProto& graph) {
  graph.set_name(graph.name());
  const auto by_name = [](const auto& item) { return item.name(); };
  sort_by(graph.mutable_initializer(), by_name);
  sort_by(graph.mutable_value_info(), by_name);
  for (auto& tensor : *graph.mutable_initializer()) normalize(tensor);
  for (auto& node : *graph.mutable_node()) normalize(node);
  for (auto& info : *graph.mutable_input()) normalize(info);
  for (auto& info : *graph.mutable_output()) normalize(info);
  for (auto& info : *graph.mutable_value_info()) normalize(info);
}

inline void normalize(::onnx::ModelProto& model) {
  for (auto& import : *model.mutable_opset_import()) {
    import.set_domain(import.domain() == "ai.onnx" ? "" : import.domain());
    import.set_version(import.version());
  }
  sort_by(model.mutable_opset_import(), [](const auto& import) { return import.domain(); });
  sort_by(model.mutable_metadata_props(), [](const auto& entry) { return entry.key(); });
  normalize(*model.mutable_graph());
}

}  // namespace zeropoint
