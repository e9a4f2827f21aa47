// Recurrent networks, attention, normalizations, Einsum and com.microsoft's operators: cases worked by hand, and errors.
#include <gmock/gmock.h>

#include "ops/operator.h"
#include "zeropoint/error.h"

namespace zeropoint::ops {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::HasSubstr;
using testing::Pointwise;

// All outputs of one node, written as in the text form without its results.
std::vector<Tensor> run(const std::string& node, const std::map<std::string, Tensor>& feeds, std::int64_t opset = 23,
                        const std::string& outputs = "y") {
  std::string inputs;
  for (const auto& [name, tensor] : feeds)
    inputs +=
        (inputs.empty() ? "" : ", ") + name + ": " + std::string(zeropoint::name(tensor.dtype())) + to_string(tensor.dims());
  Graph graph = parse_graph("ir_version 10\nopset " + std::to_string(opset) + "\nopset com.microsoft 1\ngraph g(" + inputs +
                            ") -> (" + outputs + ") {\n " + outputs + " = " + node + "\n}\n");
  infer_shapes(graph);
  std::vector<Tensor> results = evaluate(graph, feeds);
  for (std::size_t i = 0; i < results.size(); ++i)
    EXPECT_EQ(to_string(graph.outputs[i].type), std::string(name(results[i].dtype())) + to_string(results[i].dims()));
  return results;
}

Tensor f32(Dims dims, const std::vector<float>& values) { return Tensor::of<float>(std::move(dims), values); }
std::vector<float> floats(const Tensor& tensor) {
  const auto values = tensor.values<float>();
  return {values.begin(), values.end()};
}
std::string message_of(const std::string& node, const std::map<std::string, Tensor>& feeds, ErrorCode code) {
  try {
    run(node, feeds);
  } catch (const Error& error) {
    EXPECT_EQ(name(error.code), name(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error: " << node;
  return "";
}

TEST(Rnn, AddsItsStateAndRunsBackwardsFromTheEndOfEachSequence) {
  // h = 2 x + h' / 2
  const std::map<std::string, Tensor> feeds = {
      {"x", f32({3, 1, 1}, {1, 2, 3})}, {"w", f32({1, 1, 1}, {2})}, {"r", f32({1, 1, 1}, {0.5F})}};
  auto out = run("RNN(x, w, r) {activations=[\"Affine\"]}", feeds, 22, "y, h");
  EXPECT_THAT(floats(out[0]), ElementsAre(2, 5, 8.5F));
  EXPECT_THAT(floats(out[1]), ElementsAre(8.5F));
  auto more = feeds;
  more["n"] = Tensor::of<std::int32_t>({1}, std::vector<std::int32_t>{2});
  out = run("RNN(x, w, r, \"\", n) {activations=[\"Affine\"], direction=\"reverse\"}", more, 22, "y, h");
  EXPECT_THAT(floats(out[0]), ElementsAre(4, 4, 0));
  EXPECT_THAT(floats(out[1]), ElementsAre(4));
}

TEST(Gru, ResetsBeforeOrAfterTheProduct) {
  // z = 1/2, r = 1/4, state 2; the candidate is x + r h' + 3 = 4.5, or x + r (h' + 3) = 2.25.
  const std::map<std::string, Tensor> feeds = {{"x", f32({1, 1, 1}, {1})},
                                               {"w", f32({1, 3, 1}, {0.5F, 0.25F, 1})},
                                               {"r", f32({1, 3, 1}, {0, 0, 1})},
                                               {"b", f32({1, 6}, {0, 0, 0, 0, 0, 3})},
                                               {"h", f32({1, 1, 1}, {2})}};
  const std::string node = "GRU(x, w, r, b, \"\", h) {activations=[\"Affine\", \"Affine\"], linear_before_reset=";
  EXPECT_THAT(floats(run(node + "0}", feeds)[0]), ElementsAre(3.25F));
  EXPECT_THAT(floats(run(node + "1}", feeds)[0]), ElementsAre(2.125F));
}

TEST(Lstm, ByHand) {
  // Gates i, o, f, c in this order; all activations the identity.
  std::map<std::string, Tensor> feeds = {{"x", f32({1, 1, 1}, {1})},
                                         {"w", f32({1, 4, 1}, {0.5F, 2, 0.25F, 3})},
                                         {"r", f32({1, 4, 1}, {0, 0, 0, 0})},
                                         {"c", f32({1, 1, 1}, {2})}};
  const std::string linear = "activations=[\"Affine\", \"Affine\", \"Affine\"]";
  const auto plain = "LSTM(x, w, r, \"\", \"\", \"\", c) {" + linear;
  const auto out = run(plain + "}", feeds, 22, "y, h, cell");
  EXPECT_THAT(floats(out[0]), ElementsAre(4));  // C = 2/4 + 3/2 = 2, times o = 2
  EXPECT_THAT(floats(out[2]), ElementsAre(2));
  EXPECT_THAT(floats(run(plain + ", input_forget=1}", feeds)[0]), ElementsAre(5));
  EXPECT_THAT(floats(run(plain + ", clip=1.0}", feeds)[0]), ElementsAre(1));
  feeds["p"] = f32({1, 3}, {0.25F, 1, 0});  // of i, o, f: i = 1, C = 3.5, o = 5.5
  EXPECT_THAT(floats(run("LSTM(x, w, r, \"\", \"\", \"\", c, p) {" + linear + "}", feeds)[0]), ElementsAre(19.25F));
}

TEST(Recurrent, RefusesWhatDoesNotFit) {
  const std::map<std::string, Tensor> feeds = {
      {"x", f32({3, 1, 1}, {1, 2, 3})}, {"w", f32({1, 1, 1}, {2})}, {"r", f32({1, 1, 1}, {0.5F})}};
  EXPECT_THAT(message_of("RNN(x, w, r) {hidden_size=4}", feeds, ErrorCode::kBadShape), HasSubstr("RNN"));
  EXPECT_THAT(message_of("LSTM(x, w, r)", feeds, ErrorCode::kBadShape), HasSubstr("W is [1,1,1], must be [1,4,1]"));
  EXPECT_THAT(message_of("RNN(x, w, r) {direction=\"up\"}", feeds, ErrorCode::kBadAttribute), HasSubstr("'up'"));
  EXPECT_THAT(message_of("RNN(x, w, r) {activations=[\"Sin\"]}", feeds, ErrorCode::kBadAttribute), HasSubstr("'sin'"));
}

TEST(Attention, LooksAtWhatItMay) {
  const Tensor zeros = f32({1, 2, 2, 1}, {0, 0, 0, 0}), k = f32({1, 1, 2, 1}, {1, 2}), v = f32({1, 1, 2, 1}, {1, 3});
  const std::map<std::string, Tensor> feeds = {{"q", zeros}, {"k", k}, {"v", v}};
  // Two query heads share one key head; equal scores average.
  EXPECT_THAT(floats(run("Attention(q, k, v)", feeds)[0]), ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(floats(run("Attention(q, k, v) {is_causal=1}", feeds)[0]), ElementsAre(1, 2, 1, 2));
  auto masked = feeds;
  masked["m"] = Tensor::of<bool>({2, 2}, std::span<const bool>(std::array{false, true, false, false}));
  EXPECT_THAT(floats(run("Attention(q, k, v, m)", masked)[0]), ElementsAre(3, 0, 3, 0));
  auto past = feeds;
  past["pk"] = f32({1, 1, 1, 1}, {5});
  past["pv"] = f32({1, 1, 1, 1}, {7});
  const auto out = run("Attention(q, k, v, \"\", pk, pv) {is_causal=1}", past, 23, "y, present_k, present_v");
  EXPECT_THAT(floats(out[0]), Pointwise(FloatNear(1e-6F), {4.0F, 11.0F / 3, 4.0F, 11.0F / 3}));
  EXPECT_THAT(floats(out[2]), ElementsAre(7, 1, 3));
  EXPECT_THAT(message_of("Attention(q, k, v) {q_num_heads=3}", feeds, ErrorCode::kBadShape), HasSubstr("3 heads"));
}

TEST(RotaryEmbedding, TurnsPairs) {
  const std::map<std::string, Tensor> feeds = {
      {"x", f32({1, 1, 1, 4}, {1, 2, 3, 4})}, {"c", f32({1, 1, 2}, {0, 1})}, {"s", f32({1, 1, 2}, {1, 0})}};
  EXPECT_THAT(floats(run("RotaryEmbedding(x, c, s)", feeds)[0]), ElementsAre(-3, 2, 1, 4));
  EXPECT_THAT(floats(run("RotaryEmbedding(x, c, s) {interleaved=1}", feeds)[0]), ElementsAre(-2, 1, 3, 4));
}

TEST(Einsum, ByHand) {
  const std::map<std::string, Tensor> two = {{"a", f32({2, 2}, {1, 2, 3, 4})}, {"b", f32({2, 2}, {5, 6, 7, 8})}};
  const std::map<std::string, Tensor> a = {{"a", two.at("a")}};
  EXPECT_THAT(floats(run("Einsum(a, b) {equation=\"ij, jk -> ik\"}", two)[0]), ElementsAre(19, 22, 43, 50));
  EXPECT_THAT(floats(run("Einsum(a, b) {equation=\"ij,jk\"}", two)[0]), ElementsAre(19, 22, 43, 50));
  EXPECT_THAT(floats(run("Einsum(a) {equation=\"ii->i\"}", a)[0]), ElementsAre(1, 4));
  EXPECT_THAT(floats(run("Einsum(a) {equation=\"ii\"}", a)[0]), ElementsAre(5));
  EXPECT_THAT(floats(run("Einsum(a) {equation=\"ba\"}", a)[0]), ElementsAre(1, 3, 2, 4));
  EXPECT_THAT(floats(run("Einsum(a, b) {equation=\"...j,...j->...\"}", two)[0]), ElementsAre(17, 53));
  const std::map<std::string, Tensor> wide = {{"a", f32({2, 1, 2}, {1, 2, 3, 4})}, {"b", f32({2, 2}, {5, 6, 7, 8})}};
  EXPECT_THAT(floats(run("Einsum(a, b) {equation=\"...j,...j->...\"}", wide)[0]), ElementsAre(17, 23, 39, 53));
  EXPECT_THAT(message_of("Einsum(a, b) {equation=\"ij->i\"}", two, ErrorCode::kBadAttribute), HasSubstr("1 inputs"));
  EXPECT_THAT(message_of("Einsum(a) {equation=\"ij->k\"}", a, ErrorCode::kBadAttribute), HasSubstr("no input has"));
  EXPECT_THAT(message_of("Einsum(a) {equation=\"ijk\"}", a, ErrorCode::kBadShape), HasSubstr("does not fit 'ijk'"));
}

TEST(Normalization, ByHand) {
  const std::map<std::string, Tensor> pair = {{"x", f32({1, 2}, {3, 4})}};
  EXPECT_THAT(floats(run("LpNormalization(x)", pair)[0]), ElementsAre(0.6F, 0.8F));
  EXPECT_THAT(floats(run("LpNormalization(x) {p=1}", {{"x", f32({1, 2}, {0, 0})}})[0]), ElementsAre(0, 0));
  EXPECT_THAT(floats(run("RMSNormalization(x, s) {epsilon=0.0}", {{"x", f32({2}, {1, -1})}, {"s", f32({2}, {2, 3})}})[0]),
              ElementsAre(2, -3));
  EXPECT_THAT(floats(run("LRN(x) {size=3, alpha=3.0, beta=1.0}", {{"x", f32({1, 3, 1}, {1, 2, 3})}})[0]),
              Pointwise(FloatNear(1e-6F), {1.0F / 6, 2.0F / 15, 3.0F / 14}));
  // Scale and bias are one a group before opset 21, one a channel from then on.
  std::map<std::string, Tensor> groups = {{"x", f32({1, 2, 2}, {1, -1, 1, -1})}, {"s", f32({1}, {2})}, {"b", f32({1}, {1})}};
  const std::string node = "GroupNormalization(x, s, b) {num_groups=1, epsilon=0.0}";
  EXPECT_THAT(floats(run(node, groups, 18)[0]), ElementsAre(3, -1, 3, -1));
  groups["s"] = f32({2}, {2, 3});
  groups["b"] = f32({2}, {0, 1});
  EXPECT_THAT(floats(run(node, groups, 21)[0]), ElementsAre(2, -2, 4, -2));
  EXPECT_THAT(message_of("GroupNormalization(x, s, b) {num_groups=0}", groups, ErrorCode::kBadAttribute), HasSubstr("is 0"));
}

TEST(LpPool, ByHand) {
  const std::map<std::string, Tensor> feeds = {{"x", f32({1, 1, 3}, {3, -4, 0})}};
  EXPECT_THAT(floats(run("LpPool(x) {kernel_shape=[2]}", feeds)[0]), ElementsAre(5, 4));
  EXPECT_THAT(floats(run("LpPool(x) {kernel_shape=[2], p=1}", feeds)[0]), ElementsAre(7, 4));
  EXPECT_THAT(floats(run("GlobalLpPool(x)", feeds)[0]), ElementsAre(5));
}

TEST(MatMulNBits, ReadsBlocks) {
  // Each byte holds 8 (low) and 9: with the zero point 8 of absent ones, 0 and 1.
  std::map<std::string, Tensor> feeds = {{"a", f32({1, 16}, std::vector<float>(16, 1))},
                                         {"b", Tensor::of<std::uint8_t>({1, 1, 8}, std::vector<std::uint8_t>(8, 0x98))},
                                         {"s", f32({1}, {2})}};
  const std::string attributes = "{K=16, N=1, bits=4, block_size=16}";
  EXPECT_THAT(floats(run("com.microsoft::MatMulNBits(a, b, s) " + attributes, feeds)[0]), ElementsAre(16));
  feeds["z"] = Tensor::of<std::uint8_t>({1}, std::vector<std::uint8_t>{0xF7});
  EXPECT_THAT(floats(run("com.microsoft::MatMulNBits(a, b, s, z) " + attributes, feeds)[0]), ElementsAre(48));
  feeds["g"] = Tensor::of<std::int32_t>({16}, std::vector<std::int32_t>(16));
  EXPECT_THAT(message_of("com.microsoft::MatMulNBits(a, b, s, z, g) " + attributes, feeds, ErrorCode::kUnsupported),
              HasSubstr("does not run"));
}

TEST(QLinearReduceMean, ByHand) {
  const auto u8 = [](std::vector<std::uint8_t> values, Dims dims = {}) { return Tensor::of<std::uint8_t>(dims, values); };
  const std::map<std::string, Tensor> feeds = {{"x", u8({2, 12, 22}, {1, 3})},
                                               {"xs", Tensor::scalar(0.5F)},
                                               {"xz", u8({2})},
                                               {"ys", Tensor::scalar(1.0F)},
                                               {"yz", u8({3})}};
  const Tensor y = run("com.microsoft::QLinearReduceMean(x, xs, xz, ys, yz) {axes=[-1], keepdims=0}", feeds)[0];
  EXPECT_TRUE(y == u8({8}, {1}));
}

}  // namespace
}  // namespace zeropoint::ops
