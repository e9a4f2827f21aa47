// The graph: what an ONNX file says, as a value. Names are identities, as in ONNX.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "zeropoint/error.h"
#include "zeropoint/tensor.h"

namespace zeropoint {

// A dimension: a number, a named unknown ("N"), or an unknown without a name.
struct Dim {
  Dim() = default;
  Dim(std::int64_t number) : value(number) {}  // NOLINT: a number is a dimension
  explicit Dim(std::string name) : symbol(std::move(name)) {}
  bool fixed() const { return value >= 0; }
  friend bool operator==(const Dim&, const Dim&) = default;

  std::int64_t value = -1;
  std::string symbol;
};
using Shape = std::vector<Dim>;
bool fixed(const Shape& shape);
std::optional<Dims> fixed_dims(const Shape& shape);
Shape to_shape(const Dims& dims);
std::string to_string(const Shape& shape);  // "[N,3,224,224]", "?" for an unnamed unknown

// Element type and shape of a value. No shape: the rank is unknown. dtype undefined: unknown, or not a tensor.
struct TensorType {
  DType dtype = DType::undefined;
  std::optional<Shape> shape;
  friend bool operator==(const TensorType&, const TensorType&) = default;
};
std::string to_string(const TensorType& type);  // "f32[N,3,224,224]"

struct Graph;

// What this version of zeropoint does not interpret (sparse tensors, type protos, newer kinds): bytes private to src/onnx.
struct OpaqueAttribute {
  std::string bytes;
  friend bool operator==(const OpaqueAttribute&, const OpaqueAttribute&) = default;
};

using Attribute = std::variant<std::int64_t, float, std::string, Tensor, std::vector<std::int64_t>, std::vector<float>,
                               std::vector<std::string>, std::vector<Tensor>, std::shared_ptr<const Graph>, OpaqueAttribute>;

// Fields called `extra` carry what src/onnx read beyond the fields here (metadata, documentation, fields newer than itself),
// so that writing gives it back. Nothing else looks into them.
struct Node {
  std::string name;  // may be empty or repeated
  std::string op_type;
  std::string domain;                        // "" is ai.onnx
  std::vector<std::string> inputs, outputs;  // "" is an absent optional
  std::map<std::string, Attribute> attributes;
  std::string extra;

  const Attribute* find(std::string_view attribute) const;
  // The attribute, or the default when it is absent; throws Error kBadAttribute naming the node when its kind differs.
  std::int64_t get_int(std::string_view attribute, std::int64_t otherwise) const;
  float get_float(std::string_view attribute, float otherwise) const;
  std::string get_string(std::string_view attribute, std::string otherwise) const;
  std::vector<std::int64_t> get_ints(std::string_view attribute, std::vector<std::int64_t> otherwise = {}) const;
  std::vector<float> get_floats(std::string_view attribute, std::vector<float> otherwise = {}) const;
  const std::string& input(std::size_t index) const;  // "" beyond the end
  bool is(std::string_view type) const { return op_type == type && domain.empty(); }
};
// "node 'conv1' (Conv)", or by its first output when it has no name: for messages.
std::string describe(const Node& node);

struct ValueInfo {
  std::string name;
  TensorType type;
  std::string extra;
};

struct Graph {
  std::string name;
  std::vector<ValueInfo> inputs;  // without those that only name an initializer
  std::vector<ValueInfo> outputs;
  std::vector<Node> nodes;  // in topological order
  std::map<std::string, Tensor> initializers;
  std::map<std::string, TensorType> types;  // of inner values, as declared or inferred
  std::map<std::string, std::string> initializer_extras, type_extras;
  std::string extra;

  // Of the model; empty in subgraphs.
  std::map<std::string, std::int64_t> opsets;  // domain -> version; "" is ai.onnx
  std::int64_t ir_version = 0;
  std::map<std::string, std::string> metadata;
  std::string model_extra;  // producer, functions, training info, ...

  // What it was read from, for messages: no part of its value. Empty in subgraphs and in graphs that were made.
  std::string source;

  std::int64_t opset() const;                            // of ai.onnx; 0 when not imported
  TensorType type_of(std::string_view value) const;      // of an input, initializer, inner value or output
  const Tensor* constant(std::string_view value) const;  // an initializer, or null
  bool is_output(std::string_view value) const;
};
bool operator==(const Graph& a, const Graph& b);  // equal in every field but `source` (NaNs by bits)

// type_of and is_output for walks over all values: a graph itself looks through the lists of its inputs and outputs. These must
// stay as they are, and the graph where it is; its other fields may change.
class ValueIndex {
 public:
  explicit ValueIndex(const Graph& graph);
  TensorType type_of(std::string_view value) const;
  bool is_output(std::string_view value) const { return outputs_.contains(value); }
  std::optional<std::size_t> output(std::string_view value) const;  // its position

 private:
  const Graph& graph_;
  std::unordered_map<std::string_view, std::size_t> inputs_, outputs_;
};

// Who makes and who reads each value; subgraphs count as readers of the outer values that they name.
struct Uses {
  std::map<std::string, std::size_t, std::less<>> producer;                // value -> node index
  std::map<std::string, std::vector<std::size_t>, std::less<>> consumers;  // value -> node indices, ascending, once each
};
Uses find_uses(const Graph& graph);
std::set<std::string> outer_names(const Graph& subgraph);  // values that a subgraph takes from outside
// Values that a node reads: its inputs and what its subgraphs take from outside, once each, without absent ones.
std::vector<std::string> values_read(const Node& node);
bool has_subgraph(const Node& node);

// A name that no value of the graph has: `base`, or `base_1`, ...
std::string unused_name(const Graph& graph, const std::string& base);

// Throws Error (kBadModel, with node and value named) when a rule is broken: inputs defined before use, names unique, outputs
// produced, opset imported, types consistent.
void verify(const Graph& graph);
// Sorts the nodes topologically, keeping their order where it is free; throws Error kBadModel on a cycle or dangling input.
void sort_nodes(Graph& graph);
// Removes initializers and types that nothing names any more.
void remove_unused_values(Graph& graph);

// Text form, one line a node: `y: f32[N,64,112,112] = Conv(x, w, b) "conv1" {strides=[2, 2]}` (docs/onnx.md). Tensors of more
// than `max_elements` are elided to their size and hash. max_elements < 0 prints all of the graph, `extra` fields included:
// parse_graph(to_text(g, -1)) == g. parse_graph throws Error kBadFile, `where` giving line and column, and verifies nothing.
std::string to_text(const Graph& graph, std::int64_t max_elements = 64);
Graph parse_graph(std::string_view text);

// 128 bits over everything that decides what the graph computes (not names of nodes, documentation or metadata).
std::string graph_hash(const Graph& graph);  // 32 hexadecimal digits

// model.onnx <-> Graph. Input bytes are untrusted: throws Error, never crashes.
Graph load(const std::filesystem::path& path);
Graph parse(std::span<const std::byte> onnx, const std::string& where = "model");
struct SaveOptions {
  // Weights in a file of their own, NAME.onnx.data beside NAME.onnx. Unset: when the model would not fit into 2 GB otherwise.
  std::optional<bool> external_data;
  std::int64_t smallest_external = 1024;  // bytes; smaller tensors stay in the model, as do those of subgraphs and attributes
};
// Through temporary files and renames. The weights are streamed from where they lie: borrowed ones (load) never come into
// memory beyond the page cache. A pass that makes new weights of more than memory holds them in a Spill (base/spill.h).
void save(const Graph& graph, const std::filesystem::path& path, const SaveOptions& options = {});
std::string serialize(const Graph& graph);  // throws Error kLimit beyond 2 GB

}  // namespace zeropoint
