// Random graphs for tests: valid, small, with everything in them that a graph can hold.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint {

class RandomGraph {
 public:
  explicit RandomGraph(std::uint64_t seed) : random_(seed) {}

  // `extras`: fill the `extra` fields with arbitrary bytes (src/onnx only takes its own).
  Graph model(bool extras) {
    extras_ = extras;
    Graph graph = body({}, 2);
    graph.ir_version = 4 + below(9);
    graph.opsets[""] = 11 + below(11);
    if (below(2)) graph.opsets["com.microsoft"] = 1;
    if (below(2)) graph.opsets["ai.onnx.ml"] = 3;
    for (std::int64_t i = below(3); i > 0; --i) graph.metadata[text()] = text();
    if (extras_ && below(2)) graph.model_extra = text();
    return graph;
  }

  Tensor tensor() {
    static constexpr DType kTypes[] = {DType::b8,         DType::f16,    DType::bf16,     DType::f32,        DType::f64,
                                       DType::s64,        DType::u64,    DType::s32,      DType::u32,        DType::s16,
                                       DType::u16,        DType::s8,     DType::u8,       DType::s4,         DType::u4,
                                       DType::s2,         DType::u2,     DType::f8e4m3fn, DType::f8e4m3fnuz, DType::f8e5m2,
                                       DType::f8e5m2fnuz, DType::f8e8m0, DType::f4e2m1};
    Dims dims;
    for (std::int64_t rank = below(4); rank > 0; --rank) dims.push_back(below(12) ? 1 + below(4) : 0);
    Tensor tensor(kTypes[below(std::size(kTypes))], dims);
    const auto bytes = tensor.mutable_bytes();
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
    if (tensor.dtype() == DType::b8)
      for (std::byte& byte : bytes) byte &= std::byte{1};
    // The bits behind the last element are zero.
    const std::int64_t used = tensor.size() * bits(tensor.dtype()) % 8;
    if (used != 0) bytes.back() &= static_cast<std::byte>((1 << used) - 1);
    return tensor;
  }

 private:
  std::int64_t below(std::size_t limit) { return static_cast<std::int64_t>(random_() % limit); }

  std::string text() {
    static const std::string kPieces[] = {"a",  "conv", "/x/y", "0", "17",   "::",    " ", "\"",
                                          "\\", "\n",   "{",    "é", "type", "extra", "#"};
    std::string value;
    for (std::int64_t i = below(4); i >= 0; --i) value += kPieces[below(std::size(kPieces))];
    return value;
  }
  std::string new_name() { return text() + "_" + std::to_string(names_++); }
  std::string extra() {
    if (!extras_ || below(3)) return "";
    std::string bytes;
    for (std::int64_t i = below(20); i > 0; --i) bytes += static_cast<char>(random_());
    return bytes;
  }
  float real() {
    const auto any = std::bit_cast<float>(static_cast<std::uint32_t>(random_()));
    static constexpr float kReals[] = {0.0F, -0.0F, 1.0F, 0.1F, 1e30F, 1e-42F, -2.5F};
    return below(2) ? any : kReals[below(std::size(kReals))];
  }
  TensorType type() {
    TensorType type;
    type.dtype = below(5) ? DType::f32 : DType::s8;
    if (below(5) == 0) return type;
    Shape& shape = type.shape.emplace();
    for (std::int64_t rank = below(4); rank > 0; --rank) {
      switch (below(3)) {
        case 0:
          shape.emplace_back(below(300));
          break;
        case 1:
          shape.emplace_back(text());
          break;
        default:
          shape.emplace_back();
          break;
      }
    }
    return type;
  }
  template <class Make>
  auto list(const Make& make) {
    std::vector<decltype(make())> values;
    for (std::int64_t i = below(4); i > 0; --i) values.push_back(make());
    return values;
  }

  Attribute attribute(const std::vector<std::string>& known, int depth) {
    switch (below(depth > 0 ? 9 : 8)) {
      case 0:
        return static_cast<std::int64_t>(random_());
      case 1:
        return real();
      case 2:
        return text();
      case 3:
        return tensor();
      case 4:
        return list([&] { return below(100) - 50; });
      case 5:
        return list([&] { return real(); });
      case 6:
        return list([&] { return text(); });
      case 7:
        return list([&] { return tensor(); });
      default:
        return std::make_shared<const Graph>(body(known, depth - 1));
    }
  }

  // `known`: values of the graphs around it.
  Graph body(std::vector<std::string> known, int depth) {
    Graph graph;
    if (below(3)) graph.name = text();
    graph.extra = extra();
    for (std::int64_t i = below(3); i >= 0; --i) {
      graph.inputs.push_back({new_name(), type(), extra()});
      known.push_back(graph.inputs.back().name);
    }
    for (std::int64_t i = below(3); i > 0; --i) {
      const std::string name = new_name();
      graph.initializers[name] = tensor();
      if (std::string bytes = extra(); !bytes.empty()) graph.initializer_extras[name] = bytes;
      known.push_back(name);
    }
    std::vector<std::string> made;
    for (std::int64_t i = below(6); i >= 0; --i) {
      Node node;
      if (below(2)) node.name = text();
      node.op_type = below(4) ? "Op" : text();
      node.domain = below(3) ? "" : text();
      for (std::int64_t k = below(4); k > 0; --k) node.inputs.push_back(below(6) ? known[below(known.size())] : "");
      for (std::int64_t k = below(3); k > 0; --k) node.attributes[text()] = attribute(known, depth);
      for (std::int64_t k = below(3); k >= 0; --k) {
        node.outputs.push_back(below(6) ? new_name() : "");
        if (node.outputs.back().empty()) continue;
        made.push_back(node.outputs.back());
        if (below(2)) graph.types[made.back()] = type();
        if (std::string bytes = extra(); !bytes.empty()) graph.type_extras[made.back()] = bytes;
      }
      known.insert(known.end(), made.begin(), made.end());
      node.extra = extra();
      graph.nodes.push_back(std::move(node));
    }
    if (made.empty()) made.push_back(graph.inputs[0].name);
    for (std::size_t i = 0; i < std::min<std::size_t>(made.size(), 2); ++i) {
      const auto found = graph.types.find(made[i]);
      graph.outputs.push_back({made[i], found == graph.types.end() ? TensorType{} : found->second, extra()});
    }
    return graph;
  }

  std::mt19937_64 random_;
  bool extras_ = false;
  int names_ = 0;
};

}  // namespace zeropoint
