#include "ir/hash.h"

#define XXH_INLINE_ALL
#include <fmt/format.h>
#include <xxhash.h>

#include <cstdint>
#include <memory>
#include <string_view>
#include <type_traits>

#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

std::string hexadecimal(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

// Every list goes in with its length and every variant with its kind, so that no two graphs give the same stream of bytes.
class Hasher {
 public:
  Hasher() : state_(XXH3_createState()) {
    if (!state_) throw std::bad_alloc();
    XXH3_128bits_reset(state_.get());
  }
  std::string digest() const { return hexadecimal(XXH3_128bits_digest(state_.get())); }

  void add(std::int64_t value) { XXH3_128bits_update(state_.get(), &value, sizeof value); }
  void add(float value) { XXH3_128bits_update(state_.get(), &value, sizeof value); }
  void add(std::string_view text) {
    count(text.size());
    XXH3_128bits_update(state_.get(), text.data(), text.size());
  }
  void add(const std::string& text) { add(std::string_view(text)); }
  void add(const OpaqueAttribute& attribute) { add(attribute.bytes); }
  void add(const Tensor& tensor) {
    add(static_cast<std::int64_t>(tensor.dtype()));
    add(tensor.dims());
    const auto bytes = tensor.unaligned_bytes();
    count(bytes.size());
    XXH3_128bits_update(state_.get(), bytes.data(), bytes.size());
  }
  template <class T>
  void add(const std::vector<T>& list) {
    count(list.size());
    for (const T& item : list) add(item);
  }
  void add(const std::shared_ptr<const Graph>& graph) {
    count(graph ? 1 : 0);
    if (graph) add(*graph);
  }
  void add(const TensorType& type) {
    add(static_cast<std::int64_t>(type.dtype));
    count(type.shape ? type.shape->size() + 1 : 0);
    if (!type.shape) return;
    for (const Dim& dim : *type.shape) {
      add(dim.value);
      add(dim.symbol);
    }
  }
  void add(const Node& node) {
    add(node.op_type);
    add(node.domain);
    add(node.inputs);
    add(node.outputs);
    count(node.attributes.size());
    for (const auto& [key, attribute] : node.attributes) {
      add(key);
      count(attribute.index());
      std::visit([this](const auto& value) { add(value); }, attribute);
    }
  }
  void add(const Graph& graph) {
    count(graph.inputs.size());
    for (const ValueInfo& info : graph.inputs) {
      add(info.name);
      add(info.type);
    }
    count(graph.outputs.size());
    for (const ValueInfo& info : graph.outputs) add(info.name);
    add(graph.nodes);
    count(graph.initializers.size());
    for (const auto& [value, tensor] : graph.initializers) {
      add(value);
      add(tensor);
    }
    count(graph.opsets.size());
    for (const auto& [domain, version] : graph.opsets) {
      add(domain);
      add(version);
    }
  }

 private:
  struct Free {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  void count(std::size_t value) { add(static_cast<std::int64_t>(value)); }

  std::unique_ptr<XXH3_state_t, Free> state_;
};

}  // namespace

std::string hash_of(std::span<const std::byte> bytes) { return hexadecimal(XXH3_128bits(bytes.data(), bytes.size())); }

std::string graph_hash(const Graph& graph) {
  Hasher hasher;
  hasher.add(graph);
  return hasher.digest();
}

}  // namespace zeropoint
