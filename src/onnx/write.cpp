#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <random>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/file.h"
#include "ir/declarations.h"
#include "onnx/external_data.h"
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
  // Where the version has been raised since, no runtime shall take constants for replaceable inputs.
  const bool stale = !list_all && !listed.empty() && listed[listed.size() - 1].name().empty();
  for (const auto& info : listed) {
    if (const auto found = position.find(info.name()); found != position.end()) {
      write_up_to(std::max(next, found->second + 1));
    } else if (const auto constant = graph.initializers.find(info.name()); constant != graph.initializers.end() && !stale) {
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

constexpr std::uint64_t kMost = 0x7fffffff;  // bytes of a protobuf message

// The bytes of a file: short strings and the weights, in the order in which they are written. As messages the weights would be
// in memory twice more.
class Pieces {
 public:
  void add(std::string text) {
    size_ += text.size();
    pieces_.emplace_back(std::move(text), std::span<const std::byte>());
  }
  void add(std::span<const std::byte> bytes) {
    size_ += bytes.size();
    pieces_.emplace_back(std::string(), bytes);
  }
  void append(Pieces&& more) {
    size_ += more.size_;
    pieces_.insert(pieces_.end(), std::make_move_iterator(more.pieces_.begin()), std::make_move_iterator(more.pieces_.end()));
  }
  std::uint64_t size() const { return size_; }
  template <class Take>
  void each(const Take& take) const {
    for (const auto& [text, bytes] : pieces_) take(text.empty() ? bytes : std::as_bytes(std::span(text)));
  }

 private:
  std::vector<std::pair<std::string, std::span<const std::byte>>> pieces_;
  std::uint64_t size_ = 0;
};

// Weights in their own file. What is mapped is best on whole pages, smaller ones on cache lines.
class DataFile {
 public:
  DataFile(std::string location, const Graph& graph, std::uint64_t smallest) : location_(std::move(location)), id_(make_id()) {
    std::uint64_t end = onnx_file::kDataHeaderSize;
    for (const auto& [name, tensor] : graph.initializers) {
      const std::uint64_t size = tensor.unaligned_bytes().size();
      if (tensor.dtype() == DType::opaque || size < std::max<std::uint64_t>(smallest, 1)) continue;
      const std::uint64_t alignment = size >= kLarge ? 4096 : 64;
      const std::uint64_t offset = (end + alignment - 1) / alignment * alignment;
      offsets_.emplace(name, offset);
      tensors_.emplace_back(offset, tensor);
      end = offset + size;
    }
  }

  bool empty() const { return tensors_.empty(); }
  const std::string& id() const { return id_; }

  // Lets the tensor point into the file, when it is there.
  bool point(const std::string& name, const Tensor& tensor, TensorProto& proto) const {
    const auto found = offsets_.find(name);
    if (found == offsets_.end()) return false;
    proto.set_data_location(TensorProto::EXTERNAL);
    const auto entry = [&](const char* key, std::string value) {
      auto& added = *proto.add_external_data();
      added.set_key(key);
      added.set_value(std::move(value));
    };
    entry("location", location_);
    entry("offset", std::to_string(found->second));
    entry("length", std::to_string(tensor.unaligned_bytes().size()));
    return true;
  }

  void write(ReplacementFile& file) const {
    const std::string header = onnx_file::data_header(id_);
    file.write(std::as_bytes(std::span(header)));
    for (const auto& [offset, tensor] : tensors_) {
      file.pad_to(offset);
      file.write(tensor.unaligned_bytes());
    }
  }

 private:
  static constexpr std::uint64_t kLarge = 1 << 16;

  static std::string make_id() {
    std::random_device random;
    std::string id;
    for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", static_cast<std::uint32_t>(random()));
    return id;
  }

  std::string location_, id_;
  std::unordered_map<std::string, std::uint64_t> offsets_;
  std::vector<std::pair<std::uint64_t, Tensor>> tensors_;
};

// The model's file; tensors that `data` holds are not in it.
Pieces write_model(const Graph& graph, const DataFile* data) {
  verify(graph);
  auto model = parse_extra<ModelProto>(graph.model_extra);
  model.set_ir_version(graph.ir_version);
  for (const auto& [domain, version] : graph.opsets) {
    auto& import = *model.add_opset_import();
    import.set_domain(domain);
    import.set_version(version);
  }
  const auto metadata = [&](const std::string& key, const std::string& value) {
    auto& entry = *model.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  };
  for (const auto& [key, value] : graph.metadata)
    if (key != onnx_file::kDataIdKey) metadata(key, value);
  if (data) metadata(std::string(onnx_file::kDataIdKey), data->id());

  const GraphProto structure = write_structure(graph, onnx_file::lists_initializers(graph.ir_version));
  const std::uint64_t structure_size = structure.ByteSizeLong(), model_size = model.ByteSizeLong();
  Pieces initializers;
  for (const auto& [name, tensor] : graph.initializers) {
    if (onnx_file::is_sparse(tensor)) continue;
    TensorProto proto = write_initializer(graph, name, tensor, false);
    const bool outside = tensor.dtype() == DType::opaque || (data && data->point(name, tensor, proto));
    std::string fields = proto.SerializeAsString();
    const auto bytes = outside ? std::span<const std::byte>() : tensor.unaligned_bytes();
    if (!outside) fields += field(kTensorRawData, bytes.size());
    initializers.add(field(kGraphInitializer, fields.size() + bytes.size()) + fields);
    if (!bytes.empty()) initializers.add(bytes);
  }
  const std::uint64_t graph_size = structure_size + initializers.size();
  if (structure_size > kMost || model_size > kMost || model_size + graph_size + 16 > kMost)
    throw Error(ErrorCode::kLimit, fmt::format("graph '{}'", graph.name),
                fmt::format("its file would have {} MB; an ONNX file ends at 2 GiB{}", (model_size + graph_size) >> 20,
                            data ? ", and weights in subgraphs and in attributes stay in it" : " without external data"));
  std::string head;
  bool good = model.AppendToString(&head);
  head += field(kModelGraph, graph_size);
  good = good && structure.AppendToString(&head);
  if (!good) throw Error(ErrorCode::kInternal, fmt::format("graph '{}'", graph.name), "protobuf could not serialize it");
  Pieces pieces;
  pieces.add(std::move(head));
  pieces.append(std::move(initializers));
  return pieces;
}

// Bytes that a file without external data certainly has more than.
std::uint64_t weight_bytes(const Graph& graph) {
  std::uint64_t sum = 0;
  for (const auto& [name, tensor] : graph.initializers) sum += tensor.unaligned_bytes().size();
  return sum;
}

}  // namespace

std::string serialize(const Graph& graph) {
  const Pieces pieces = write_model(graph, nullptr);
  std::string bytes;
  bytes.reserve(static_cast<std::size_t>(pieces.size()));
  pieces.each([&](std::span<const std::byte> part) { bytes.append(reinterpret_cast<const char*>(part.data()), part.size()); });
  return bytes;
}

void save(const Graph& graph, const std::filesystem::path& path, const SaveOptions& options) {
  bool external = options.external_data.value_or(false);
  std::optional<Pieces> whole;
  if (!external) {
    const bool may = !options.external_data.has_value();
    if (const std::uint64_t bytes = weight_bytes(graph); may && bytes > kMost) {
      external = true;
    } else {
      try {
        whole = write_model(graph, nullptr);
      } catch (const Error& error) {
        if (!may || error.code != ErrorCode::kLimit || bytes == 0) throw;
        external = true;
      }
    }
  }
  std::filesystem::path target = path;  // a link stays a link, and the data lie where the model does
  std::error_code ignored;
  if (std::filesystem::is_symlink(path, ignored)) target = std::filesystem::weakly_canonical(path, ignored);
  if (external) {
    const std::filesystem::path beside = target.string() + ".data";
    const DataFile data(beside.filename().string(), graph, options.smallest_external);
    if (!data.empty()) {
      const Pieces pieces = write_model(graph, &data);
      ReplacementFile data_file(beside), file(target);
      data.write(data_file);
      pieces.each([&](std::span<const std::byte> part) { file.write(part); });
      // Both are on the disk before either takes its place. Between the two renames the old model stands beside the new data:
      // their identifiers differ, and load() says so.
      data_file.sync();
      file.sync();
      data_file.commit();
      file.commit();
      return;
    }
    whole = write_model(graph, nullptr);
  }
  ReplacementFile file(target);
  whole->each([&](std::span<const std::byte> part) { file.write(part); });
  file.commit();
}

}  // namespace zeropoint
