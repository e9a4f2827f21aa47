// Products of dynamically quantized values with what stands around them: one step or several, always the bytes of the
// operators.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/test_graphs.h"

namespace zeropoint::engine {
namespace {

constexpr const char* kProduct = "matmul_u8s8f32";  // in the names of its kernels

bool fuses(IsaSet isas) { return isas != IsaSet(); }  // all but the reference

// How many steps of such kernels there are to be, where the instruction set has any.
auto products(int wanted) {
  return
      [wanted](const std::string& steps, IsaSet isas) { EXPECT_EQ(count(steps, kProduct), fuses(isas) ? wanted : 0) << steps; };
}

// y = (float(q x w) * scale) * w_scale for scales of rows, or float(q x w) * (scale * w_scale).
std::string row_product(const std::string& q, const std::string& scale, const std::string& w, const std::string& y,
                        const std::string& zero = "middle") {
  return y + "_sums = MatMulInteger(" + q + ", " + w + ", " + zero + ")\n" + y + "_real = Cast(" + y + "_sums) {to=1}\n" + y +
         "_rows = Mul(" + y + "_real, " + scale + ")\n" + y + " = Mul(" + y + "_rows, " + w + "_scale)\n";
}
std::string tensor_product(const std::string& q, const std::string& scale, const std::string& w, const std::string& y,
                           const std::string& zero = "middle") {
  return y + "_scale = Mul(" + scale + ", " + w + "_scale)\n" + y + "_sums = MatMulInteger(" + q + ", " + w + ", " + zero +
         ")\n" + y + "_real = Cast(" + y + "_sums) {to=1}\n" + y + " = Mul(" + y + "_real, " + y + "_scale)\n";
}

// w, s8 [inputs, outputs], and w_scale, one for each output.
void add_weights(std::map<std::string, Tensor>& constants, const std::string& w, std::int64_t inputs, std::int64_t outputs) {
  const auto seed = static_cast<unsigned>(constants.size() + 100);
  constants[w] = random_tensor(DType::s8, {inputs, outputs}, seed);
  constants[w + "_scale"] = random_tensor(DType::f32, {outputs}, seed + 1);
}
std::map<std::string, Tensor> weights(std::int64_t inputs, std::int64_t outputs) {
  std::map<std::string, Tensor> constants;
  for (const char* w : {"w", "v"}) add_weights(constants, w, inputs, outputs);
  return constants;
}

TEST(LowerFusedProducts, QuantizersOfRowsJoinTheirProducts) {
  const Graph graph = text_graph(
      "x: f32[2,5,40]", "y: f32, z: f32",
      quantize_sets("x") + row_product("x_q", "x_scale", "w", "y") + row_product("x_q", "x_scale", "v", "z"), weights(40, 24));
  expect_literal(graph, {}, [](const std::string& steps, IsaSet isas) {
    products(1)(steps, isas);
    EXPECT_EQ(count(steps, "quantize rows+MatMulInteger"), fuses(isas) ? 1 : 0) << steps;
  });
}

TEST(LowerFusedProducts, ZeroPointsNeedNotBe128) {
  const std::string constants = "odd = u8[]{37}\n";
  for (const char* zero : {"odd", "zero", "\"\"", "given"}) {
    SCOPED_TRACE(zero);
    expect_literal(text_graph("q: u8[6,40], s: f32[], given: u8[]", "y: f32",
                              constants + tensor_product("q", "s", "w", "y", zero), weights(40, 32)),
                   {}, products(1));
    // Scales of rows: the kernel takes no zero point that is made at run time.
    const int steps_of_rows = zero == std::string("given") ? 0 : 1;
    expect_literal(text_graph("q: u8[6,40], s: f32[6,1], given: u8[]", "y: f32",
                              constants + row_product("q", "s", "w", "y", zero), weights(40, 32)),
                   {}, products(steps_of_rows));
    // Rows that are quantized around 128 and multiplied as if around another number: the kernel must not quantize them.
    expect_literal(text_graph("x: f32[6,40], given: u8[]", "y: f32",
                              constants + quantize_sets("x") + row_product("x_q", "x_scale", "w", "y", zero), weights(40, 32)),
                   {}, [&](const std::string& steps, IsaSet isas) {
                     products(steps_of_rows)(steps, isas);
                     EXPECT_EQ(count(steps, "quantize rows+"), 0) << steps;
                   });
  }
  expect_literal(text_graph("x: f32[6,40]", "y: f32",
                            "q, s, z = DynamicQuantizeLinear(x)\n" + tensor_product("q", "s", "w", "y", "z"), weights(40, 32)),
                 {}, products(1));
}

TEST(LowerFusedProducts, ProductsOfOneValueAreOneWhereTheirParametersAreOne) {
  struct Case {
    const char *zero, *scale, *other_zero, *other_scale;
    int steps;
  };
  for (const Case& c : {Case{"low", "s", "low", "s", 1}, Case{"low", "s", "high", "s", 2}, Case{"low", "s", "\"\"", "s", 2},
                        Case{"\"\"", "s", "zero", "s", 1}, Case{"low", "s", "low", "t", 2}, Case{"a", "s", "a", "s", 1},
                        Case{"a", "s", "b", "s", 2}, Case{"a", "s", "low", "s", 2}, Case{"low", "s", "a", "s", 2}}) {
    SCOPED_TRACE(std::string(c.zero) + " " + c.scale + ", " + c.other_zero + " " + c.other_scale);
    expect_literal(text_graph("q: u8[6,40], s: f32[], t: f32[], a: u8[], b: u8[]", "y: f32, z: f32",
                              "low = u8[]{3}\nhigh = u8[]{200}\n" + tensor_product("q", c.scale, "w", "y", c.zero) +
                                  tensor_product("q", c.other_scale, "v", "z", c.other_zero),
                              weights(40, 32)),
                   {}, products(c.steps));
  }
  // One scale for all rows and a scale for each.
  expect_literal(text_graph("q: u8[6,40], s: f32[], t: f32[6,1]", "y: f32, z: f32",
                            tensor_product("q", "s", "w", "y") + row_product("q", "t", "v", "z"), weights(40, 32)),
                 {}, products(2));
}

TEST(LowerFusedProducts, AReaderThatIsNoSuchProductLeavesTheOthersAlone) {
  for (const bool rows : {false, true}) {
    SCOPED_TRACE(rows);
    const std::string quantizer = rows ? quantize_sets("x") : "x_q, x_scale, z = DynamicQuantizeLinear(x)\n";
    const std::string product =
        rows ? row_product("x_q", "x_scale", "w", "y") : tensor_product("x_q", "x_scale", "w", "y", "z");
    for (const char* reader : {"r = MatMulInteger(x_q, v)\n", "r = Reshape(x_q, flat)\n", "r = Identity(x_q)\n"}) {
      SCOPED_TRACE(reader);
      for (const bool first : {false, true}) {
        const std::string nodes = first ? reader + product : product + reader;
        const bool sums = count(reader, "Integer") > 0;
        expect_literal(text_graph("x: f32[6,40]", std::string("y: f32, r: ") + (sums ? "s32" : "u8"),
                                  "flat = s64[1]{-1}\n" + quantizer + nodes, weights(40, 32)),
                       {}, products(1));
      }
    }
  }
}

// The packed bytes of weights are shared by content: the same bytes may be another matrix.
TEST(LowerFusedProducts, EqualBytesOfOtherShapesAreOtherWeights) {
  const std::int64_t a = 48, b = 64;
  std::map<std::string, Tensor> constants;
  add_weights(constants, "w", a, b);
  add_weights(constants, "v", b, a);
  // The engine holds [outputs, inputs]: both must be the same bytes in that order.
  const auto w = constants["w"].values<std::int8_t>();
  const auto v = constants["v"].mutable_values<std::int8_t>();
  for (std::int64_t i = 0; i < a * b; ++i)
    v[static_cast<std::size_t>(i % b * a + i / b)] = w[static_cast<std::size_t>(i % a * b + i / a)];
  expect_literal(text_graph("q: u8[7,48], r: u8[7,64], s: f32[]", "y: f32, z: f32",
                            tensor_product("q", "s", "w", "y") + tensor_product("r", "s", "v", "z"), constants),
                 {}, products(2));
}

TEST(LowerFusedProducts, BiasLimitsGeluAndResidualRideAlong) {
  const std::string gelu = "d = Div(c, root)\ne = Erf(d)\na = Add(e, one)\nm = Mul(c, a)\ng = Mul(m, half)\n";
  for (const char* product : {"rows", "tensor"})
    expect_literal(text_graph("x: f32[6,40], before: f32[6,32]", "y: f32",
                              "root = f32[]{1.41421354}\nhalf = f32[]{0.5}\nlow = f32[]{-40.0}\nhigh = f32[]{55.5}\n" +
                                  (product == std::string("rows")
                                       ? quantize_sets("x") + row_product("x_q", "x_scale", "w", "p")
                                       : "q, s, z = DynamicQuantizeLinear(x)\n" + tensor_product("q", "s", "w", "p", "z")) +
                                  "b = Add(bias, p)\nc = Clip(b, low, high)\n" + gelu + "y = Add(before, g)\n",
                              [] {
                                auto constants = weights(40, 32);
                                constants["bias"] = random_tensor(DType::f32, {32}, 9);
                                return constants;
                              }()),
                   {}, [](const std::string& steps, IsaSet isas) {
                     products(1)(steps, isas);
                     EXPECT_EQ(count(steps, "Erf"), fuses(isas) ? 0 : 1) << steps;
                   });
}

// The residual is what the rows are made of.
TEST(LowerFusedProducts, TheResidualMayBeTheSource) {
  expect_literal(text_graph("x: f32[9,32]", "y: f32",
                            quantize_sets("x") + row_product("x_q", "x_scale", "w", "p") + "y = Add(p, x)\n", weights(32, 32)),
                 {}, products(1));
}

// Rows that wait for their product must outlive a float product that would write its sum with them over them. Small integers:
// a library's sums are exact.
TEST(LowerFusedProducts, WaitingRowsAreNotOverwritten) {
  std::map<std::string, Tensor> constants = weights(32, 32);
  Tensor dense(DType::f32, {32, 32}), x(DType::f32, {9, 32});
  for (std::int64_t i = 0; i < dense.size(); ++i)
    dense.mutable_values<float>()[static_cast<std::size_t>(i)] = static_cast<float>(i % 7 - 3);
  for (std::int64_t i = 0; i < x.size(); ++i)
    x.mutable_values<float>()[static_cast<std::size_t>(i)] = static_cast<float>(i % 11 - 4);
  constants["dense"] = dense;
  expect_literal(text_graph("input: f32[9,32]", "y: f32, after: f32",
                            "x = Relu(input)\n" + quantize_sets("x") + "p = MatMul(input, dense)\nsum = Add(p, x)\n" +
                                "after = Relu(sum)\n" + row_product("x_q", "x_scale", "w", "y"),
                            constants),
                 {{"input", x}}, products(1));
}

TEST(LowerFusedProducts, OtherReadersOfTheRowScaleFindIt) {
  struct Case {
    const char *nodes, *output;
  };
  for (const Case& c :
       {Case{"r = Identity(x_scale)\n", "r: f32"}, Case{"r = Mul(x, x_scale)\n", "r: f32"},
        Case{"r = Mul(x_scale, x_scale)\n", "r: f32"},
        // of the sums of other integers
        Case{"others = MatMulInteger(other, v)\nreal = Cast(others) {to=1}\nr = Mul(real, x_scale)\n", "r: f32"},
        // after the scales of the columns
        Case{"others = MatMulInteger(x_q, v, middle)\nreal = Cast(others) {to=1}\n"
             "columns = Mul(real, v_scale)\nr = Mul(columns, x_scale)\n",
             "r: f32"},
        // of sums that somebody else reads too
        Case{"r = MatMulInteger(x_q, v, middle)\nreal = Cast(r) {to=1}\nrows = Mul(real, x_scale)\n"
             "t = Mul(rows, v_scale)\n",
             "r: s32, t: f32"}}) {
    SCOPED_TRACE(c.nodes);
    for (const bool first : {false, true}) {
      const std::string product = row_product("x_q", "x_scale", "w", "y");
      expect_literal(text_graph("x: f32[6,40], other: u8[6,40]", std::string("y: f32, ") + c.output,
                                quantize_sets("x") + (first ? c.nodes + product : product + c.nodes), weights(40, 32)),
                     {}, [](const std::string& steps, IsaSet isas) {
                       products(1)(steps, isas);
                       EXPECT_EQ(count(steps, "quantize rows"), 1) << steps;
                       EXPECT_EQ(count(steps, "quantize rows+"), 0) << steps;
                     });
    }
  }
}

// A scale of more dimensions than the product has adds dimensions to the result.
TEST(LowerFusedProducts, ScalesMayAddDimensions) {
  auto constants = weights(40, 32);
  constants["w_scale"] = random_tensor(DType::f32, {1, 1, 32}, 7);
  expect_literal(text_graph("q: u8[6,40], s: f32[]", "y: f32", tensor_product("q", "s", "w", "y"), constants), {}, products(0));
  expect_literal(text_graph("q: u8[6,40], s: f32[6,1]", "y: f32", row_product("q", "s", "w", "y"), constants), {}, products(0));
  expect_literal(text_graph("x: f32[6,40]", "y: f32", quantize_sets("x") + row_product("x_q", "x_scale", "w", "y"), constants),
                 {}, products(0));
  constants["w_scale"] = random_tensor(DType::f32, {1, 1, 1}, 7);
  expect_literal(text_graph("q: u8[6,40], s: f32[]", "y: f32", tensor_product("q", "s", "w", "y"), constants), {}, products(0));
  constants["w_scale"] = random_tensor(DType::f32, {32}, 7);
  expect_literal(text_graph("q: u8[6,40], s: f32[1,1,1]", "y: f32", tensor_product("q", "s", "w", "y"), constants), {},
                 products(0));
  expect_literal(text_graph("q: u8[6,40], s: f32[1,1]", "y: f32", tensor_product("q", "s", "w", "y"), constants), {},
                 products(1));
}

// Sums must fit 32 bits for any zero point; the bound allows 256 * 128 * depth.
TEST(LowerFusedProducts, DepthThat32BitsHold) {
  for (const std::int64_t depth : {65536, 65537}) {
    SCOPED_TRACE(depth);
    auto constants = weights(depth, 16);
    std::fill(constants["w"].mutable_bytes().begin(), constants["w"].mutable_bytes().end(), std::byte{0x80});
    constants.erase("v");
    expect_literal(text_graph("q: u8[4," + std::to_string(depth) + "], s: f32[]", "y: f32",
                              tensor_product("q", "s", "w", "y", "zero"), constants),
                   {}, products(depth == 65536 ? 1 : 0));
  }
}

// Where tiles would be mostly empty, kernels without tiles take over.
TEST(LowerFusedProducts, FewRowsAndColumns) {
  const std::string nodes = quantize_sets("x") + row_product("x_q", "x_scale", "w", "y");
  for (const std::int64_t rows : {1, 3, 4})
    for (const std::int64_t columns : {1, 8, 15, 16}) {
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(columns));
      expect_literal(text_graph("x: f32[" + std::to_string(rows) + ",40]", "y: f32", nodes, weights(40, columns)), {},
                     [&](const std::string& steps, IsaSet isas) {
                       products(1)(steps, isas);
                       const bool tiles = isas.contains(Isa::amxint8) && rows >= 4 && columns >= 16;
                       EXPECT_EQ(count(steps, "matmul_u8s8f32_32x32x64_amxint8"), tiles ? 1 : 0) << steps;
                     });
    }
}

TEST(LowerFusedProducts, WhatTheKernelDoesNotTakeStaysApart) {
  auto zeros = weights(40, 32);
  zeros["w_zero"] = Tensor::scalar(std::int8_t{5});
  expect_literal(text_graph("q: u8[6,40], s: f32[]", "y: f32",
                            "y_scale = Mul(s, w_scale)\nsums = MatMulInteger(q, w, middle, w_zero)\n"
                            "real = Cast(sums) {to=1}\ny = Mul(real, y_scale)\n",
                            zeros),
                 {}, products(0));
  expect_literal(text_graph("q: s8[6,40], s: f32[]", "y: f32", tensor_product("q", "s", "w", "y", "\"\""), weights(40, 32)), {},
                 products(0));
}

}  // namespace
}  // namespace zeropoint::engine
