#include "zeropoint/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <type_traits>
#include <utility>

#include "ir/names.h"

namespace zeropoint {
namespace {

const std::array<std::string_view, std::variant_size_v<Attribute>> kKinds = {
    "an integer",       "a float",           "a string",          "a tensor", "a list of integers",
    "a list of floats", "a list of strings", "a list of tensors", "a graph",  "of a kind that is not interpreted"};

template <class T>
T get(const Node& node, std::string_view attribute, T otherwise) {
  const Attribute* found = node.find(attribute);
  if (!found) return otherwise;
  if (const T* value = std::get_if<T>(found)) return *value;
  throw Error(
      ErrorCode::kBadAttribute, describe(node),
      fmt::format("attribute '{}' is {}, but must be {}", attribute, kKinds[found->index()], kKinds[Attribute(T()).index()]));
}

bool same_bits(float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }

bool same(const Attribute& a, const Attribute& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&](const auto& left) {
        using T = std::decay_t<decltype(left)>;
        const T& right = std::get<T>(b);
        if constexpr (std::is_same_v<T, float>) {
          return same_bits(left, right);
        } else if constexpr (std::is_same_v<T, std::vector<float>>) {
          return std::equal(left.begin(), left.end(), right.begin(), right.end(), same_bits);
        } else if constexpr (std::is_same_v<T, std::shared_ptr<const Graph>>) {
          return left == right || (left && right && *left == *right);
        } else {
          return left == right;
        }
      },
      a);
}

bool same(const Node& a, const Node& b) {
  return a.name == b.name && a.op_type == b.op_type && a.domain == b.domain && a.inputs == b.inputs && a.outputs == b.outputs &&
         a.extra == b.extra &&
         std::equal(a.attributes.begin(), a.attributes.end(), b.attributes.begin(), b.attributes.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && same(x.second, y.second); });
}

bool same(const ValueInfo& a, const ValueInfo& b) { return a.name == b.name && a.type == b.type && a.extra == b.extra; }

std::optional<TensorType> inner_type(const Graph& graph, std::string_view value) {
  const std::string key(value);
  if (const auto found = graph.initializers.find(key); found != graph.initializers.end())
    return TensorType{found->second.dtype(), to_shape(found->second.dims())};
  if (const auto found = graph.types.find(key); found != graph.types.end()) return found->second;
  return std::nullopt;
}

template <class T>
bool all_same(const std::vector<T>& a, const std::vector<T>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const T& x, const T& y) { return same(x, y); });
}

}  // namespace

std::string_view kind_name(std::size_t kind) { return kKinds[kind]; }

bool fixed(const Shape& shape) {
  return std::all_of(shape.begin(), shape.end(), [](const Dim& dim) { return dim.fixed(); });
}

std::optional<Dims> fixed_dims(const Shape& shape) {
  if (!fixed(shape)) return std::nullopt;
  Dims dims;
  dims.reserve(shape.size());
  for (const Dim& dim : shape) dims.push_back(dim.value);
  return dims;
}

Shape to_shape(const Dims& dims) { return Shape(dims.begin(), dims.end()); }

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (const Dim& dim : shape) {
    if (text.size() > 1) text += ',';
    text += dim.fixed() ? std::to_string(dim.value) : dim.symbol.empty() ? "?" : quoted_symbol(dim.symbol);
  }
  return text + "]";
}

std::string to_string(const TensorType& type) {
  return (type.dtype == DType::undefined ? "?" : std::string(name(type.dtype))) + (type.shape ? to_string(*type.shape) : "");
}

const Attribute* Node::find(std::string_view attribute) const {
  const auto found = attributes.find(std::string(attribute));
  return found == attributes.end() ? nullptr : &found->second;
}
std::int64_t Node::get_int(std::string_view attribute, std::int64_t otherwise) const {
  return get(*this, attribute, otherwise);
}
float Node::get_float(std::string_view attribute, float otherwise) const { return get(*this, attribute, otherwise); }
std::string Node::get_string(std::string_view attribute, std::string otherwise) const {
  return get(*this, attribute, std::move(otherwise));
}
std::vector<std::int64_t> Node::get_ints(std::string_view attribute, std::vector<std::int64_t> otherwise) const {
  return get(*this, attribute, std::move(otherwise));
}
std::vector<float> Node::get_floats(std::string_view attribute, std::vector<float> otherwise) const {
  return get(*this, attribute, std::move(otherwise));
}

const std::string& Node::input(std::size_t index) const {
  static const std::string absent;
  return index < inputs.size() ? inputs[index] : absent;
}

std::string describe(const Node& node) {
  if (!node.name.empty()) return fmt::format("node '{}' ({})", node.name, node.op_type);
  for (const std::string& output : node.outputs)
    if (!output.empty()) return fmt::format("node of '{}' ({})", output, node.op_type);
  return fmt::format("a nameless node ({})", node.op_type);
}

std::int64_t Graph::opset() const {
  const auto found = opsets.find("");
  return found == opsets.end() ? 0 : found->second;
}

TensorType Graph::type_of(std::string_view value) const {
  if (auto type = inner_type(*this, value)) return *std::move(type);
  for (const auto* list : {&inputs, &outputs})
    for (const ValueInfo& info : *list)
      if (info.name == value) return info.type;
  return {};
}

const Tensor* Graph::constant(std::string_view value) const {
  const auto found = initializers.find(std::string(value));
  return found == initializers.end() ? nullptr : &found->second;
}

bool Graph::is_output(std::string_view value) const {
  return std::any_of(outputs.begin(), outputs.end(), [&](const ValueInfo& info) { return info.name == value; });
}

ValueIndex::ValueIndex(const Graph& graph) : graph_(graph) {
  for (std::size_t i = 0; i < graph.inputs.size(); ++i) inputs_.emplace(graph.inputs[i].name, i);
  for (std::size_t i = 0; i < graph.outputs.size(); ++i) outputs_.emplace(graph.outputs[i].name, i);
}

TensorType ValueIndex::type_of(std::string_view value) const {
  if (auto type = inner_type(graph_, value)) return *std::move(type);
  if (const auto found = inputs_.find(value); found != inputs_.end()) return graph_.inputs[found->second].type;
  if (const auto found = outputs_.find(value); found != outputs_.end()) return graph_.outputs[found->second].type;
  return {};
}

std::optional<std::size_t> ValueIndex::output(std::string_view value) const {
  const auto found = outputs_.find(value);
  return found == outputs_.end() ? std::nullopt : std::optional(found->second);
}

bool operator==(const Graph& a, const Graph& b) {
  return a.name == b.name && a.extra == b.extra && a.opsets == b.opsets && a.ir_version == b.ir_version &&
         a.metadata == b.metadata && a.model_extra == b.model_extra && all_same(a.inputs, b.inputs) &&
         all_same(a.outputs, b.outputs) && all_same(a.nodes, b.nodes) && a.types == b.types &&
         a.initializer_extras == b.initializer_extras && a.type_extras == b.type_extras && a.initializers == b.initializers;
}

}  // namespace zeropoint
