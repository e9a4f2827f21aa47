#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <unordered_set>
#include <utility>

#include "base/file.h"
#include "ir/declarations.h"
#include "ir/names.h"
#include "ir/sort.h"
#include "onnx/external_data.h"
#include "onnx/functions.h"
#include "onnx/tensor.h"
#include "onnx/wire.h"
#include "ops/attributes.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

using ::onnx::AttributeProto;
using ::onnx::GraphProto;
using ::onnx::ModelProto;
using ::onnx::NodeProto;
using ::onnx::TensorProto;
using onnx_file::checked_name;
using onnx_file::extra_of;
using onnx_file::Source;

[[noreturn]] void fail(ErrorCode code, const Source& source, const std::string& place, const std::string& message) {
  throw Error(code, place.empty() ? source.where : fmt::format("{}, {}", source.where, place), message);
}

std::string read_domain(std::string&& domain, const Source& source) {
  std::string text = checked_name(std::move(domain), source, "the operator domain");
  return text == "ai.onnx" ? "" : text;
}

Graph read_graph(GraphProto& proto, Source& source, bool list_all);

// Gives a message that is kept as bytes its real data back.
void restore_data(GraphProto& graph, const Source& source);
void restore_data(AttributeProto& attribute, const Source& source) {
  const auto restore = [&](TensorProto& tensor) {
    if (!tensor.has_raw_data()) return;
    const auto raw = source.raw_data(tensor);
    tensor.set_raw_data(raw.data(), raw.size());
  };
  if (attribute.has_t()) restore(*attribute.mutable_t());
  for (TensorProto& tensor : *attribute.mutable_tensors()) restore(tensor);
  if (attribute.has_g()) restore_data(*attribute.mutable_g(), source);
}
void restore_data(GraphProto& graph, const Source& source) {
  for (NodeProto& node : *graph.mutable_node())
    for (AttributeProto& attribute : *node.mutable_attribute()) restore_data(attribute, source);
  for (TensorProto& tensor : *graph.mutable_initializer())
    if (tensor.has_raw_data()) {
      const auto raw = source.raw_data(tensor);
      tensor.set_raw_data(raw.data(), raw.size());
    }
}

// Which value fields an attribute sets: how many, and the kind of the last.
struct ValueFields {
  int count = 0;
  AttributeProto::AttributeType kind = AttributeProto::UNDEFINED;
};
ValueFields value_fields(const AttributeProto& proto) {
  const std::pair<bool, AttributeProto::AttributeType> kinds[] = {
      {proto.has_f(), AttributeProto::FLOAT},
      {proto.has_i(), AttributeProto::INT},
      {proto.has_s(), AttributeProto::STRING},
      {proto.has_t(), AttributeProto::TENSOR},
      {proto.has_g(), AttributeProto::GRAPH},
      {proto.has_sparse_tensor(), AttributeProto::SPARSE_TENSOR},
      {proto.has_tp(), AttributeProto::TYPE_PROTO},
      {proto.floats_size() > 0, AttributeProto::FLOATS},
      {proto.ints_size() > 0, AttributeProto::INTS},
      {proto.strings_size() > 0, AttributeProto::STRINGS},
      {proto.tensors_size() > 0, AttributeProto::TENSORS},
      {proto.graphs_size() > 0, AttributeProto::GRAPHS},
      {proto.sparse_tensors_size() > 0, AttributeProto::SPARSE_TENSORS},
      {proto.type_protos_size() > 0, AttributeProto::TYPE_PROTOS}};
  ValueFields fields;
  for (const auto& [set, kind] : kinds)
    if (set) fields = {fields.count + 1, kind};
  return fields;
}

// Understood fields are cleared, what is left (but the name) belongs into the node's extra.
Attribute read_attribute(AttributeProto& proto, Source& source, const std::string& node) {
  const auto what = [&] { return fmt::format("{}, attribute '{}'", node, proto.name()); };
  const ValueFields fields = value_fields(proto);
  // No type, but a field that the schema does not know: a kind newer than the schema. It is kept, and so are references to the
  // attributes of functions.
  const bool newer = !proto.has_type() && !proto.unknown_fields().empty();
  const bool referred = !proto.ref_attr_name().empty();
  const AttributeProto::AttributeType kind = proto.has_type() ? proto.type() : fields.kind;
  const bool interpreted = kind >= AttributeProto::FLOAT && kind <= AttributeProto::TENSORS && !newer && !referred;
  if (!newer && !referred) {
    if (kind == AttributeProto::UNDEFINED) fail(ErrorCode::kBadAttribute, source, what(), "has neither type nor value");
    if (fields.count > 1) fail(ErrorCode::kBadAttribute, source, what(), "has more than one value");
    if (fields.count == 1 && fields.kind != kind)
      fail(ErrorCode::kBadAttribute, source, what(), "its value is not of the type that it declares");
    // Zeros and empty lists may be left out in protobuf, messages may not.
    if (fields.count == 0 && (kind == AttributeProto::TENSOR || kind == AttributeProto::GRAPH))
      fail(ErrorCode::kBadAttribute, source, what(), "has no value");
  }

  Attribute attribute;
  if (!interpreted) {
    restore_data(proto, source);
    attribute = OpaqueAttribute{proto.SerializeAsString()};
    std::string name = std::move(*proto.mutable_name());
    proto.Clear();
    proto.set_name(std::move(name));
    return attribute;
  }
  switch (kind) {
    case AttributeProto::FLOAT:
      attribute = proto.f();
      break;
    case AttributeProto::INT:
      attribute = std::int64_t{proto.i()};
      break;
    case AttributeProto::STRING:
      attribute = std::move(*proto.mutable_s());
      break;
    case AttributeProto::FLOATS:
      attribute = std::vector<float>(proto.floats().begin(), proto.floats().end());
      break;
    case AttributeProto::INTS:
      attribute = std::vector<std::int64_t>(proto.ints().begin(), proto.ints().end());
      break;
    case AttributeProto::STRINGS:
      attribute = std::vector<std::string>(std::make_move_iterator(proto.mutable_strings()->begin()),
                                           std::make_move_iterator(proto.mutable_strings()->end()));
      break;
    case AttributeProto::TENSOR:
      attribute = onnx_file::read_tensor(*proto.mutable_t(), source, what());
      break;
    case AttributeProto::TENSORS: {
      std::vector<Tensor> tensors;
      for (TensorProto& tensor : *proto.mutable_tensors()) tensors.push_back(onnx_file::read_tensor(tensor, source, what()));
      attribute = std::move(tensors);
      break;
    }
    default:
      attribute = std::make_shared<const Graph>(read_graph(*proto.mutable_g(), source, false));
      break;
  }
  proto.clear_type();
  proto.clear_f();
  proto.clear_i();
  proto.clear_s();
  proto.clear_g();
  proto.clear_floats();
  proto.clear_ints();
  proto.clear_strings();
  // Names and documentation of tensors stay, as long as there is any.
  if (proto.t().ByteSizeLong() == 0) proto.clear_t();
  const auto& tensors = proto.tensors();
  if (std::all_of(tensors.begin(), tensors.end(), [](const TensorProto& tensor) { return tensor.ByteSizeLong() == 0; }))
    proto.clear_tensors();
  return attribute;
}

Node read_node(NodeProto& proto, Source& source) {
  Node node;
  node.name = checked_name(std::move(*proto.mutable_name()), source, "the name of a node");
  node.op_type = checked_name(std::move(*proto.mutable_op_type()), source, "the operator");
  node.domain = read_domain(std::move(*proto.mutable_domain()), source);
  node.inputs.reserve(static_cast<std::size_t>(proto.input_size()));
  for (std::string& value : *proto.mutable_input()) node.inputs.push_back(checked_name(std::move(value), source, "an input"));
  node.outputs.reserve(static_cast<std::size_t>(proto.output_size()));
  for (std::string& value : *proto.mutable_output())
    node.outputs.push_back(checked_name(std::move(value), source, "an output"));
  proto.clear_name();
  proto.clear_op_type();
  proto.clear_domain();
  proto.clear_input();
  proto.clear_output();
  if (proto.attribute_size() > 0) {
    const std::string place = describe(node);
    ::google::protobuf::RepeatedPtrField<AttributeProto> left;
    for (AttributeProto& attribute : *proto.mutable_attribute()) {
      const std::string key = checked_name(std::string(attribute.name()), source, "the name of an attribute");
      if (key.empty()) fail(ErrorCode::kBadAttribute, source, place, "an attribute has no name");
      Attribute value = read_attribute(attribute, source, place);
      if (!node.attributes.emplace(key, std::move(value)).second)
        fail(ErrorCode::kBadAttribute, source, place, fmt::format("the attribute '{}' appears twice", key));
      attribute.clear_name();
      if (attribute.ByteSizeLong() == 0) continue;
      attribute.set_name(key);
      left.Add()->Swap(&attribute);
    }
    // By name, as they are written: equal nodes have equal extras.
    std::sort(left.pointer_begin(), left.pointer_end(), [](const auto* a, const auto* b) { return a->name() < b->name(); });
    proto.mutable_attribute()->Swap(&left);
  }
  node.extra = extra_of(proto);
  return node;
}

// Old files list initializers among the inputs, newer ones do that to let callers replace them. Here an initializer is a
// constant; the list as it was stays in the extra (names only of real inputs), so that writing gives it back. A nameless entry
// at its end says that the file's version asked for the list, and that nobody meant the initializers to be replaced.
void read_inputs(GraphProto& proto, Graph& graph, Source& source, bool list_all) {
  bool any_constant = false;
  std::unordered_set<std::string> names;
  for (auto& input : *proto.mutable_input()) {
    if (!names.insert(input.name()).second)
      fail(ErrorCode::kBadModel, source, "graph", fmt::format("two inputs are called '{}'", input.name()));
    if (const Tensor* constant = graph.constant(input.name())) {
      auto copy = input;
      const TensorType declared = onnx_file::read_value_info(copy, source).type;
      const std::string difference = contradiction(declared, graph.type_of(input.name()));
      if (!difference.empty() && !onnx_file::is_sparse(*constant))
        fail(ErrorCode::kBadModel, source, fmt::format("value '{}'", input.name()),
             "as input and as initializer, it " + difference);
      any_constant = true;
      continue;
    }
    ValueInfo info = onnx_file::read_value_info(input, source);
    input.Clear();
    input.set_name(info.name);
    graph.inputs.push_back(std::move(info));
  }
  // What an old file should have listed and did not is listed when written.
  if (list_all)
    for (const auto& [name, tensor] : graph.initializers)
      if (!onnx_file::is_sparse(tensor) && names.insert(name).second) {
        *proto.add_input() = onnx_file::write_value_info(name, graph.type_of(name), "");
        any_constant = true;
      }
  if (!any_constant) proto.clear_input();
  if (list_all && any_constant) proto.add_input();  // nameless: the list is one that the version asked for
}

Graph read_graph(GraphProto& proto, Source& source, bool list_all) {
  Graph graph;
  graph.name = checked_name(std::move(*proto.mutable_name()), source, "the name of a graph");
  proto.clear_name();
  const auto add = [&](std::string&& name, Tensor tensor, std::string extra) {
    if (name.empty()) fail(ErrorCode::kBadModel, source, "graph", "an initializer has no name");
    if (!extra.empty()) graph.initializer_extras.emplace(name, std::move(extra));
    const auto [place, added] = graph.initializers.emplace(std::move(name), std::move(tensor));
    if (!added) fail(ErrorCode::kBadModel, source, "graph", fmt::format("two initializers are called '{}'", place->first));
  };
  for (TensorProto& initializer : *proto.mutable_initializer()) {
    std::string name = checked_name(std::move(*initializer.mutable_name()), source, "an initializer");
    initializer.clear_name();
    Tensor tensor = onnx_file::read_tensor(initializer, source, fmt::format("initializer '{}'", name));
    add(std::move(name), std::move(tensor), extra_of(initializer));
  }
  proto.clear_initializer();
  for (auto& initializer : *proto.mutable_sparse_initializer()) {
    std::string name = checked_name(std::string(initializer.values().name()), source, "an initializer");
    Tensor tensor = onnx_file::read_sparse_tensor(initializer, source, fmt::format("initializer '{}'", name));
    add(std::move(name), std::move(tensor), "");
  }
  proto.clear_sparse_initializer();
  read_inputs(proto, graph, source, list_all);
  for (auto& output : *proto.mutable_output()) graph.outputs.push_back(onnx_file::read_value_info(output, source));
  proto.clear_output();
  for (auto& inner : *proto.mutable_value_info()) {
    ValueInfo info = onnx_file::read_value_info(inner, source);
    // A shape without element type is not valid ONNX, and would not be written.
    const bool empty = info.type.dtype == DType::undefined && info.extra.empty();
    if (info.name.empty() || empty) continue;
    if (!info.extra.empty()) graph.type_extras.emplace(info.name, std::move(info.extra));
    graph.types.emplace(std::move(info.name), std::move(info.type));
  }
  proto.clear_value_info();
  graph.nodes.reserve(static_cast<std::size_t>(proto.node_size()));
  for (NodeProto& node : *proto.mutable_node()) graph.nodes.push_back(read_node(node, source));
  proto.clear_node();
  graph.extra = extra_of(proto);
  return graph;
}

bool has_subgraphs(const Graph& graph) { return std::any_of(graph.nodes.begin(), graph.nodes.end(), has_subgraph); }

// Each body in the order of its needs. Files should have it, and most do; then this changes nothing.
void sort_all(Graph& graph, bool is_subgraph) {
  for (Node& node : graph.nodes)
    for (auto& [key, attribute] : node.attributes)
      if (auto* subgraph = std::get_if<std::shared_ptr<const Graph>>(&attribute)) {
        Graph sorted = **subgraph;
        sort_all(sorted, true);
        *subgraph = std::make_shared<const Graph>(std::move(sorted));
      }
  if (is_subgraph) {
    sort_subgraph_nodes(graph);
  } else {
    sort_nodes(graph);
  }
}

std::map<std::string, std::int64_t> read_opsets(::google::protobuf::RepeatedPtrField<::onnx::OperatorSetIdProto>& imports,
                                                const Source& source, const std::string& place) {
  std::map<std::string, std::int64_t> opsets;
  for (auto& import : imports) {
    const std::string domain = read_domain(std::move(*import.mutable_domain()), source);
    if (import.version() < 1)
      fail(ErrorCode::kBadModel, source, place,
           fmt::format("the opset {} of the domain {} does not exist", import.version(), in_quotes(domain)));
    const auto [found, added] = opsets.emplace(domain, import.version());
    if (!added && found->second != import.version())
      fail(ErrorCode::kBadModel, source, place,
           fmt::format("imports the opsets {} and {} of the domain {}", found->second, import.version(), in_quotes(domain)));
  }
  imports.Clear();
  return opsets;
}

// `model` gives the opsets of functions that name none, as up to IR version 8.
onnx_file::Function read_function(::onnx::FunctionProto& proto, Source& source, const Graph& model) {
  onnx_file::Function function;
  function.name = checked_name(std::move(*proto.mutable_name()), source, "the name of a function");
  function.domain = read_domain(std::move(*proto.mutable_domain()), source);
  function.overload = checked_name(std::move(*proto.mutable_overload()), source, "the overload of a function");
  const std::string place = fmt::format("function {}", in_quotes(function.name));
  Graph& body = function.body;
  body.name = function.name;
  for (std::string& input : *proto.mutable_input())
    body.inputs.push_back({.name = checked_name(std::move(input), source, "an input of a function")});
  for (std::string& output : *proto.mutable_output())
    body.outputs.push_back({.name = checked_name(std::move(output), source, "an output of a function")});
  for (AttributeProto& attribute : *proto.mutable_attribute_proto()) {
    const std::string key = checked_name(std::string(attribute.name()), source, "the name of an attribute");
    if (!function.defaults.emplace(key, read_attribute(attribute, source, place)).second)
      fail(ErrorCode::kBadAttribute, source, place, fmt::format("the attribute {} appears twice", in_quotes(key)));
  }
  body.opsets = read_opsets(*proto.mutable_opset_import(), source, place);
  if (body.opsets.empty()) body.opsets = model.opsets;
  body.nodes.reserve(static_cast<std::size_t>(proto.node_size()));
  for (NodeProto& node : *proto.mutable_node()) body.nodes.push_back(read_node(node, source));
  if (body.outputs.empty()) fail(ErrorCode::kBadModel, source, place, "has no outputs");
  try {
    sort_all(body, false);
    verify(body);
  } catch (const Error& error) {
    fail(error.code, source, place, error.what());
  }
  return function;
}

void check_attributes(const Graph& graph, const Source& source, const std::string& place, const ops::AttributeChecks& checks) {
  try {
    ops::check_attributes(graph, checks);
  } catch (const Error& error) {
    fail(error.code, source, place.empty() ? error.where : place + ", " + error.where, error.message());
  }
}

// In place of the functions come their bodies, so that no later stage meets one.
void read_functions(ModelProto& proto, Source& source, Graph& graph) {
  const bool kept = proto.training_info_size() > 0;  // which may call them
  std::vector<onnx_file::Function> functions;
  for (::onnx::FunctionProto& function : *proto.mutable_functions()) {
    ::onnx::FunctionProto copy = function;
    functions.push_back(read_function(kept ? copy : function, source, graph));
    if (!kept) continue;
    for (NodeProto& node : *function.mutable_node())
      for (AttributeProto& attribute : *node.mutable_attribute()) restore_data(attribute, source);
    for (AttributeProto& attribute : *function.mutable_attribute_proto()) restore_data(attribute, source);
  }
  if (!kept) proto.clear_functions();
  std::set<std::pair<std::string_view, std::string_view>> names;
  for (const onnx_file::Function& function : functions) names.emplace(function.domain, function.name);
  const auto is_call = [&](const Node& node) { return names.contains({node.domain, node.op_type}); };
  check_attributes(graph, source, "", {.skip = is_call});
  for (const onnx_file::Function& function : functions)
    check_attributes(function.body, source, fmt::format("function {}", in_quotes(function.name)),
                     {.skip = is_call, .references = true});
  inline_functions(graph, std::move(functions), source.where);
}

Graph read_model(std::span<const std::byte> bytes, Source source) {
  ModelProto proto;
  const onnx_file::ThinModel thin = onnx_file::thin_copy(bytes, source.where);
  if (thin.bytes.size() > 0x7fffffff || !proto.ParseFromArray(thin.bytes.data(), static_cast<int>(thin.bytes.size())))
    fail(ErrorCode::kBadFile, source, "", "not an ONNX model, or damaged: its bytes are not a protobuf message");
  source.thin = &thin;
  if (!proto.has_graph()) fail(ErrorCode::kBadModel, source, "", "holds no graph");
  if (!proto.has_ir_version())
    fail(ErrorCode::kBadModel, source, "", "does not say which version of the format it has (ir_version)");

  for (const auto& entry : proto.metadata_props())
    if (entry.key() == onnx_file::kDataIdKey) source.data_id = entry.value();
  Graph graph = read_graph(*proto.mutable_graph(), source, onnx_file::lists_initializers(proto.ir_version()));
  proto.clear_graph();
  graph.ir_version = proto.ir_version();
  if (graph.ir_version < 1)
    fail(ErrorCode::kBadModel, source, "", fmt::format("the format version {} does not exist", graph.ir_version));
  proto.clear_ir_version();
  graph.opsets = read_opsets(*proto.mutable_opset_import(), source, "");
  if (graph.ir_version < 3 && graph.opsets.empty()) graph.opsets[""] = 1;  // before imports existed
  for (auto& entry : *proto.mutable_metadata_props())
    graph.metadata[checked_name(std::move(*entry.mutable_key()), source, "the metadata")] =
        checked_name(std::move(*entry.mutable_value()), source, "the metadata");
  proto.clear_metadata_props();
  graph.metadata.erase(std::string(onnx_file::kDataIdKey));

  const auto check = [&](bool sort) {
    // A graph that is valid as it is needs no sorting; in bodies, names that hide others could make that wrong.
    if (sort && !has_subgraphs(graph)) try {
        return verify(graph);
      } catch (const Error&) {
        // Which of both has something to say is found out below.
      }
    try {
      if (sort) sort_all(graph, false);
      verify(graph);
    } catch (const Error& error) {
      fail(error.code, source, error.where, error.message());
    }
  };
  check(true);
  if (proto.functions_size() > 0) {
    read_functions(proto, source, graph);
    check(false);
  }
  check_attributes(graph, source, "", {});
  graph.model_extra = extra_of(proto);
  graph.source = source.where;
  return graph;
}

}  // namespace

Graph load(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  const std::filesystem::path folder = path.parent_path();
  Source source{.where = path.string(), .owner = file, .folder = folder.empty() ? "." : folder};
  std::error_code error;
  if (std::filesystem::is_symlink(path, error)) source.link_folder = std::filesystem::canonical(path).parent_path();
  return read_model(file->bytes(), std::move(source));
}

Graph parse(std::span<const std::byte> onnx, const std::string& where) { return read_model(onnx, {.where = where}); }

}  // namespace zeropoint
