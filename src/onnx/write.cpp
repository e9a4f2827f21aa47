#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "ir/declarations.h"
#include "onnx/tensor.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;
using onnx_file::parse_extra;

void write_graph(const Graph& graph, GraphProto& proto);

// `proto` holds what the extra kept of this attribute.
void write_attribute(const std::string& key, const Attribute& attribute, AttributeProto& proto) {
  if (const auto* opaque = std::get_if<OpaqueAttribute>(&attribute)) {
    proto = parse_extra<AttributeProto>(opaque->bytes);
    proto.set_name(key);
    return;
  }
  proto.set_name(key);
  const auto put = [&]<class T>(const T& value) {
    if constexpr (std::is_same_v<T, std::int64_t>) {
      proto.set_type(AttributeProto::INT);
      proto.set_i(value);
    } else if constexpr (std::is_same_v<T, float>) {
      proto.set_type(AttributeProto::FLOAT);
      proto.set_f(value);
    } else if constexpr (std::is_same_v<T, std::string>) {
      proto.set_type(AttributeProto::STRING);
      proto.set_s(value);
    } else if constexpr (std::is_same_v<T, Tensor>) {
      proto.set_type(AttributeProto::TENSOR);
      onnx_file::write_tensor(value, *proto.mutable_t());
    } else if constexpr (std::is_same_v<T, std::vector<std::int64_t>>) {
      proto.set_type(AttributeProto::INTS);
      proto.mutable_ints()->Add(value.begin(), value.end());
    } else if constexpr (std::is_same_v<T, std::vector<float>>) {
      proto.set_type(AttributeProto::FLOATS);
      proto.mutable_floats()->Add(value.begin(), value.end());
    } else if constexpr (std::is_same_v<T, std::vector<std::string>>) {
      proto.set_type(AttributeProto::STRINGS);
      proto.mutable_strings()->Add(value.begin(), value.end());
    } else if constexpr (std::is_same_v<T, std::vector<Tensor>>) {
      proto.set_type(AttributeProto::TENSORS);
      if (static_cast<std::size_t>(proto.tensors_size()) != value.size()) {
        proto.clear_tensors();
        for (std::size_t i = 0; i < value.size(); ++i) proto.add_tensors();
      }
      for (int i = 0; const Tensor& tensor : value) onnx_file::write_tensor(tensor, *proto.mutable_tensors(i++));
    } else if constexpr (std::is_same_v<T, std::shared_ptr<const Graph>>) {
      proto.set_type(AttributeProto::GRAPH);
      write_graph(*value, *proto.mutable_g());
    }
  };
  std::visit(put, attribute);
}

NodeProto write_node(const Node& node) {
  auto proto = parse_extra<NodeProto>(node.extra);
  std::unordered_map<std::string, AttributeProto> left;
  for (AttributeProto& attribute : *proto.mutable_attribute()) left[attribute.name()].Swap(&attribute);
  proto.clear_attribute();
  for (const auto& [key, attribute] : node.attributes) {
    AttributeProto& out = *proto.add_attribute();
    if (const auto found = left.find(key); found != left.end()) {
      // The name and documentation of a tensor go with a tensor only.
      if (!std::holds_alternative<Tensor>(attribute)) found->second.clear_t();
      if (!std::holds_alternative<std::vector<Tensor>>(attribute)) found->second.clear_tensors();
      out.Swap(&found->second);
    }
    write_attribute(key, attribute, out);
  }
  proto.mutable_input()->Add(node.inputs.begin(), node.inputs.end());
  proto.mutable_output()->Add(node.outputs.begin(), node.outputs.end());
  if (!node.name.empty()) proto.set_name(node.name);
  proto.set_op_type(node.op_type);
  if (!node.domain.empty()) proto.set_domain(node.domain);
  return proto;
}

// The inputs, with the initializers that were listed among them back in their places, or all of them.
void write_inputs(const Graph& graph, bool list_all, GraphProto& proto) {
  ::google::protobuf::RepeatedPtrField<::onnx::ValueInfoProto> listed;
  proto.mutable_input()->Swap(&listed);
  std::unordered_map<std::string_view, std::size_t> position;
  for (std::size_t i = 0; i < graph.inputs.size(); ++i) position.emplace(graph.inputs[i].name, i);
  std::unordered_set<std::string> written;
  std::size_t next = 0;
  const auto write_up_to = [&](std::size_t end) {
    for (; next < end; ++next) {
      const ValueInfo& info = graph.inputs[next];
      *proto.add_input() = onnx_file::write_value_info(info.name, info.type, info.extra);
    }
  };
  const auto write_constant = [&](const std::string& name, const Tensor& tensor, const ::onnx::ValueInfoProto* declared) {
    if (onnx_file::is_sparse(tensor) || !written.insert(name).second) return;
    const TensorType type{tensor.dtype(), to_shape(tensor.dims())};
    auto left = declared ? *declared : ::onnx::ValueInfoProto();
    // As it was declared, perhaps with symbols for dimensions, unless the constant has changed since.
    const bool fits = declared && contradiction(onnx_file::read_value_info(left, {}).type, type).empty();
    *proto.add_input() = fits ? *declared : onnx_file::write_value_info(name, type, left.SerializeAsString());
  };
  for (const auto& info : listed) {
    if (const auto found = position.find(info.name()); found != position.end()) {
      write_up_to(std::max(next, found->second + 1));
    } else if (const auto constant = graph.initializers.find(info.name()); constant != graph.initializers.end()) {
      write_constant(info.name(), constant->second, &info);
    }
  }
  write_up_to(graph.inputs.size());
  if (list_all)
    for (const auto& [name, tensor] : graph.initializers) write_constant(name, tensor, nullptr);
}

TensorProto write_initializer(const Graph& graph, const std::string& name, const Tensor& tensor, bool with_data) {
  const auto extra = graph.initializer_extras.find(name);
  auto proto = parse_extra<TensorProto>(extra == graph.initializer_extras.end() ? "" : extra->second);
  proto.set_name(name);
  onnx_file::write_tensor(tensor, proto, with_data);
  return proto;
}

// Everything but the dense initializers.
GraphProto write_structure(const Graph& graph, bool list_all) {
  auto proto = parse_extra<GraphProto>(graph.extra);
  proto.set_name(graph.name);
  write_inputs(graph, list_all, proto);
  for (const ValueInfo& info : graph.outputs)
    *proto.add_output() = onnx_file::write_value_info(info.name, info.type, info.extra);
  for (const auto& [name, type] : graph.types) {
    const auto extra = graph.type_extras.find(name);
    if (type.dtype == DType::undefined && extra == graph.type_extras.end()) continue;
    *proto.add_value_info() = onnx_file::write_value_info(name, type, extra == graph.type_extras.end() ? "" : extra->second);
  }
  proto.mutable_node()->Reserve(static_cast<int>(graph.nodes.size()));
  for (const Node& node : graph.nodes) *proto.add_node() = write_node(node);
  for (const auto& [name, tensor] : graph.initializers)
    if (onnx_file::is_sparse(tensor)) {
      ::onnx::SparseTensorProto& sparse = *proto.add_sparse_initializer();
      sparse = onnx_file::write_sparse_tensor(tensor);
      sparse.mutable_values()->set_name(name);
    }
  return proto;
}

void write_graph(const Graph& graph, GraphProto& proto) {
  proto = write_structure(graph, false);
  for (const auto& [name, tensor] : graph.initializers)
    if (!onnx_file::is_sparse(tensor)) *proto.add_initializer() = write_initializer(graph, name, tensor, true);
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>((value & 0x7f) | 0x80);
  return bytes + static_cast<char>(value);
}

// Tag and length of a length-delimited field.
std::string field(std::uint64_t number, std::uint64_t length) { return varint(number << 3 | 2) + varint(length); }

constexpr std::uint64_t kModelGraph = 7, kGraphInitializer = 5, kTensorRawData = 9;
static_assert(ModelProto::kGraphFieldNumber == kModelGraph && GraphProto::kInitializerFieldNumber == kGraphInitializer &&
              TensorProto::kRawDataFieldNumber == kTensorRawData);

}  // namespace

std::string serialize(const Graph& graph) {
  verify(graph);
  auto model = parse_extra<ModelProto>(graph.model_extra);
  model.set_ir_version(graph.ir_version);
  for (const auto& [domain, version] : graph.opsets) {
    auto& import = *model.add_opset_import();
    import.set_domain(domain);
    import.set_version(version);
  }
  for (const auto& [key, value] : graph.metadata) {
    auto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  }

  // The main graph's weights go straight into the result: as messages they would be in memory three times.
  const GraphProto structure = write_structure(graph, onnx_file::lists_initializers(graph.ir_version));
  struct Initializer {
    std::string head;  // tag, length, the tensor's fields, tag and length of its data
    std::span<const std::byte> data;
  };
  std::vector<Initializer> initializers;
  const std::uint64_t structure_size = structure.ByteSizeLong();
  std::uint64_t graph_size = structure_size;
  for (const auto& [name, tensor] : graph.initializers) {
    if (onnx_file::is_sparse(tensor)) continue;
    std::string fields = write_initializer(graph, name, tensor, false).SerializeAsString();
    const bool opaque = tensor.dtype() == DType::opaque;
    const auto data = opaque ? std::span<const std::byte>() : tensor.bytes();
    if (!opaque) fields += field(kTensorRawData, data.size());
    Initializer& out = initializers.emplace_back();
    out.head = field(kGraphInitializer, fields.size() + data.size()) + fields;
    out.data = data;
    graph_size += out.head.size() + out.data.size();
  }
  constexpr std::uint64_t kMost = 0x7fffffff;
  const std::uint64_t model_size = model.ByteSizeLong();
  if (structure_size > kMost || model_size > kMost || model_size + graph_size + 16 > kMost)
    throw Error(ErrorCode::kLimit, fmt::format("graph '{}'", graph.name),
                fmt::format("its file would have {} MB; an ONNX file without external data ends at 2 GiB",
                            (model_size + graph_size) >> 20));

  std::string bytes;
  bytes.reserve(static_cast<std::size_t>(model_size + graph_size + 16));
  bool good = model.AppendToString(&bytes);
  bytes += field(kModelGraph, graph_size);
  good = good && structure.AppendToString(&bytes);
  if (!good) throw Error(ErrorCode::kInternal, fmt::format("graph '{}'", graph.name), "protobuf could not serialize it");
  for (const Initializer& initializer : initializers) {
    bytes += initializer.head;
    bytes.append(reinterpret_cast<const char*>(initializer.data.data()), initializer.data.size());
  }
  return bytes;
}

void save(const Graph& graph, const std::filesystem::path& path) { write_file(path, serialize(graph)); }

}  // namespace zeropoint
