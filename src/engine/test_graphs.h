// Graphs by hand for tests of lowering: their text, numbers for their inputs, and the comparison with the operators'
// references.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <string_view>

#include "ops/operator.h"
#include "zeropoint/cpu.h"
#include "zeropoint/session.h"

namespace zeropoint::engine {

inline Tensor random_tensor(DType dtype, const Dims& dims, unsigned seed) {
  std::mt19937 random(seed);
  Tensor tensor(dtype, dims);
  if (dtype == DType::f32)
    for (float& value : tensor.mutable_values<float>()) value = std::normal_distribution<float>()(random);
  else
    for (std::byte& value : tensor.mutable_bytes()) value = static_cast<std::byte>(random() & 0xFF);
  return tensor;
}

// `constants` join those of the text; what quantizers of sets want is there already.
inline Graph text_graph(const std::string& inputs, const std::string& outputs, const std::string& nodes,
                        const std::map<std::string, Tensor>& constants = {}) {
  Graph graph = parse_graph("ir_version 8\nopset 17\ngraph g(" + inputs + ") -> (" + outputs + R"() {
  one = f32[]{1}
  levels = f32[]{127}
  share_levels = f32[]{255}
  least = f32[]{1.17549435e-38}
  middle = u8[]{128}
  zero = u8[]{0}
)" + nodes + "}\n");
  for (const auto& [name, tensor] : constants) graph.initializers[name] = tensor;
  ops::infer_shapes(graph);
  verify(graph);
  return graph;
}

// x_q and x_scale: each set of numbers along `axis` by its own scale (docs/dynamic.md).
inline std::string quantize_sets(const std::string& x, int axis = -1) {
  return x + "_size = Abs(" + x + ")\n" + x + "_most = ReduceMax(" + x + "_size) {axes=[" + std::to_string(axis) +
         "], keepdims=1}\n" + x + "_step = Div(" + x + "_most, levels)\n" + x + "_scale = Max(" + x + "_step, least)\n" + x +
         "_over = Div(" + x + ", " + x + "_scale)\n" + x + "_q = QuantizeLinear(" + x + "_over, one, middle)\n";
}

inline int count(std::string_view text, std::string_view part) {
  int found = 0;
  for (std::size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

// Normal numbers and any bytes for the inputs of fixed shape that `feeds` lacks. Every instruction set must give the bytes of
// the references; `look` is called with what each session explains and the instruction sets that it may use.
template <class Look>
void expect_literal(const Graph& graph, Feeds feeds, const Look& look) {
  for (const ValueInfo& input : graph.inputs)
    if (!feeds.contains(input.name))
      feeds[input.name] =
          random_tensor(input.type.dtype, *fixed_dims(*input.type.shape), static_cast<unsigned>(feeds.size() + 1));
  const std::vector<Tensor> expected = ops::evaluate(graph, feeds);
  for (const Isa isa : members(detected_isas()))
    for (const int threads : {1, 3}) {
      SCOPED_TRACE(std::string(name(isa)) + ", " + std::to_string(threads) + " threads");
      Session session(graph, {.threads = threads, .max_isa = isa});
      const std::vector<Tensor> actual = session.run(feeds);
      ASSERT_EQ(actual.size(), expected.size());
      for (std::size_t i = 0; i < actual.size(); ++i) {
        EXPECT_EQ(actual[i].dims(), expected[i].dims()) << graph.outputs[i].name << "\n" << session.explain();
        EXPECT_TRUE(actual[i] == expected[i]) << graph.outputs[i].name << "\n" << session.explain();
      }
      look(session.explain(), allowed_isas(isa));
    }
}

}  // namespace zeropoint::engine
