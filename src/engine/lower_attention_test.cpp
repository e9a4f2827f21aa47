// Quantized attention as one step or as its operators: always their bytes.
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/test_graphs.h"

namespace zeropoint::engine {
namespace {

bool has_kernels(IsaSet isas) { return isas.contains(Isa::avx2) || isas.contains(Isa::neon); }

void one_step(const std::string& steps, IsaSet isas) {
  EXPECT_EQ(count(steps, "attention_q8"), has_kernels(isas) ? 1 : 0) << steps;
  EXPECT_EQ(count(steps, "MatMulInteger"), has_kernels(isas) ? 0 : 2) << steps;
}
void its_operators(const std::string& steps, IsaSet) { EXPECT_EQ(count(steps, "attention_q8"), 0) << steps; }

// q [.., rows, depth], k [.., columns, depth], v [.., columns, width] -> y.
struct Attention {
  std::string q = "2,3,6,16", k = "2,3,9,16", v = "2,3,9,8";
  std::string inputs, outputs;                                      // further ones, each with its comma
  std::string constants;                                            // lines
  std::string scores = "", softmax = "Softmax(between) {axis=-1}";  // scores: lines from `scaled` to `between`
  std::string q_zero = "middle", k_zero = "middle", p_zero = "zero", v_zero = "middle";
  std::string first = "q_scale", second = "kt_scale";  // of the scores, in this order
  int k_axis = -2;
  std::string behind = "y = Identity(values)\n";

  Graph graph() const {
    const auto rank = std::count(q.begin(), q.end(), ',') + 1;
    const std::string perm = rank == 4 ? "[0, 1, 3, 2]" : "[0, 2, 1]";
    return text_graph("q: f32[" + q + "], k: f32[" + k + "], v: f32[" + v + "]" + inputs, "y: f32" + outputs,
                      constants + quantize_sets("q") + "kt = Transpose(k) {perm=" + perm + "}\n" + quantize_sets("kt", k_axis) +
                          "qk = MatMulInteger(q_q, kt_q, " + q_zero + ", " + k_zero + ")\nqk_real = Cast(qk) {to=1}\n" +
                          "qk_rows = Mul(qk_real, " + first + ")\nscaled = Mul(qk_rows, " + second + ")\n" +
                          (scores.empty() ? "between = Identity(scaled)\n" : scores) + "p = " + softmax + "\n" +
                          "p_most = ReduceMax(p) {axes=[-1], keepdims=1}\np_step = Div(p_most, share_levels)\n" +
                          "p_scale = Max(p_step, least)\np_over = Div(p, p_scale)\np_q = QuantizeLinear(p_over, one, zero)\n" +
                          quantize_sets("v", -2) + "pv = MatMulInteger(p_q, v_q, " + p_zero + ", " + v_zero + ")\n" +
                          "pv_real = Cast(pv) {to=1}\npv_rows = Mul(pv_real, p_scale)\nvalues = Mul(pv_rows, v_scale)\n" +
                          behind);
  }
};

TEST(LowerAttention, IsOneStep) {
  expect_literal(Attention().graph(), {}, one_step);
  expect_literal(Attention{.q = "3,6,16", .k = "3,9,16", .v = "3,9,8"}.graph(), {}, one_step);
  expect_literal(Attention{.p_zero = "\"\""}.graph(), {}, one_step);
  for (const char* factor :
       {"between = Mul(scaled, factor)\n", "between = Mul(factor, scaled)\n", "between = Div(scaled, factor)\n"})
    expect_literal(Attention{.constants = "factor = f32[]{0.3}\n", .scores = factor}.graph(), {}, one_step);
  for (const char* divisor : {"8", "0.25", "-4", "5.656854", "1e-40"})
    expect_literal(
        Attention{.constants = "factor = f32[]{" + std::string(divisor) + "}\n", .scores = "between = Div(scaled, factor)\n"}
            .graph(),
        {}, one_step);
  // Heads where projections leave them, and back to there.
  expect_literal(Attention{.behind = "y = Transpose(values) {perm=[0, 2, 1, 3]}\n"}.graph(), {}, one_step);
  expect_literal(Attention{.behind = "y = Transpose(values) {perm=[3, 0, 1, 2]}\n"}.graph(), {}, one_step);
}

TEST(LowerAttention, MasksOfTheShapeOfTheScores) {
  for (const char* mask : {"2,3,6,9", "2,1,1,9", "1,1,6,9", "3,6,9", "3,1,9", "6,9", "1,9", "9"})
    for (const char* scores : {"between = Add(scaled, mask)\n", "between = Add(mask, scaled)\n"}) {
      SCOPED_TRACE(mask);
      expect_literal(Attention{.inputs = ", mask: f32[" + std::string(mask) + "]", .scores = scores}.graph(), {}, one_step);
    }
  for (const char* mask : {"2,3,6,1", "1", "1,1,1,1"}) {  // right; the kernels want a number for each column
    SCOPED_TRACE(mask);
    expect_literal(
        Attention{.inputs = ", mask: f32[" + std::string(mask) + "]", .scores = "between = Add(scaled, mask)\n"}.graph(), {},
        its_operators);
  }
  expect_literal(Attention{.inputs = ", mask: f32[1,1,6,9]",
                           .constants = "factor = f32[]{3.0}\n",
                           .scores = "smaller = Div(scaled, factor)\nbetween = Add(smaller, mask)\n"}
                     .graph(),
                 {}, one_step);
}

TEST(LowerAttention, MasksThatBroadcastTheScoresUp) {
  struct Case {
    const char *q, *k, *v, *mask;
  };
  for (const Case& c : {Case{"1,3,6,16", "1,3,9,16", "1,3,9,8", "2,1,1,9"}, Case{"1,3,6,16", "1,3,9,16", "2,3,9,8", "2,1,6,9"},
                        Case{"2,1,6,16", "2,1,9,16", "2,1,9,8", "3,6,9"}, Case{"3,6,16", "3,9,16", "3,9,8", "2,1,6,9"},
                        Case{"3,6,16", "3,9,16", "3,9,8", "1,3,6,9"}, Case{"1,6,16", "1,9,16", "1,9,8", "4,6,9"},
                        Case{"2,3,6,16", "2,3,1,16", "2,3,9,8", "2,3,6,9"}}) {
    SCOPED_TRACE(std::string(c.q) + " with a mask of " + c.mask);
    expect_literal(Attention{.q = c.q,
                             .k = c.k,
                             .v = c.v,
                             .inputs = ", mask: f32[" + std::string(c.mask) + "]",
                             .scores = "between = Add(scaled, mask)\n"}
                       .graph(),
                   {}, its_operators);
  }
  expect_literal(Attention{.q = "3,6,16",
                           .k = "3,9,16",
                           .v = "3,9,8",
                           .constants = "factor = f32[1,1,1,1]{0.3}\n",
                           .scores = "between = Mul(scaled, factor)\n"}
                     .graph(),
                 {}, its_operators);
}

TEST(LowerAttention, OperandsOfOtherShapesBroadcast) {
  expect_literal(Attention{.k = "1,3,9,16"}.graph(), {}, its_operators);
  expect_literal(Attention{.v = "2,1,9,8"}.graph(), {}, its_operators);
  expect_literal(Attention{.v = "1,9,8"}.graph(), {}, its_operators);
  expect_literal(Attention{.q = "2,3,3,16"}.graph(), {}, its_operators);  // fewer rows than the kernels take
}

TEST(LowerAttention, OtherParametersAreNotAttention) {
  const std::string odd = "odd = u8[]{127}\n";
  expect_literal(Attention{.constants = odd, .q_zero = "odd"}.graph(), {}, its_operators);
  expect_literal(Attention{.constants = odd, .k_zero = "odd"}.graph(), {}, its_operators);
  expect_literal(Attention{.constants = odd, .p_zero = "odd"}.graph(), {}, its_operators);
  expect_literal(Attention{.constants = odd, .v_zero = "odd"}.graph(), {}, its_operators);
  expect_literal(Attention{.q_zero = "\"\""}.graph(), {}, its_operators);
  expect_literal(Attention{.first = "kt_scale", .second = "q_scale"}.graph(), {}, its_operators);  // rounds otherwise
  expect_literal(Attention{.q = "2,3,9,9", .k = "2,3,9,9", .v = "2,3,9,8", .k_axis = -1}.graph(), {}, its_operators);
  expect_literal(Attention{.softmax = "Softmax(between) {axis=2}"}.graph(), {}, its_operators);
  expect_literal(Attention{.softmax = "Sigmoid(between)"}.graph(), {}, its_operators);
}

TEST(LowerAttention, WhatOthersReadIsMade) {
  for (const char* name : {"q_scale", "kt_scale", "v_scale", "p_scale", "p", "between", "scaled", "qk_real", "p_step"}) {
    SCOPED_TRACE(name);
    expect_literal(
        Attention{.outputs = ", other: f32", .behind = "y = Identity(values)\nother = Identity(" + std::string(name) + ")\n"}
            .graph(),
        {}, its_operators);
  }
  for (const char* name : {"q_q", "kt_q", "p_q"}) {
    SCOPED_TRACE(name);
    expect_literal(
        Attention{.outputs = ", other: u8", .behind = "y = Identity(values)\nother = Identity(" + std::string(name) + ")\n"}
            .graph(),
        {}, its_operators);
  }
  for (const char* name : {"q", "kt", "v", "values"}) {  // not hidden in the step
    SCOPED_TRACE(name);
    expect_literal(
        Attention{.outputs = ", other: f32", .behind = "y = Identity(values)\nother = Neg(" + std::string(name) + ")\n"}
            .graph(),
        {}, one_step);
  }
}

// 128 * 128 * 131072 is more than 32 bits hold.
TEST(LowerAttention, DepthThat32BitsHold) {
  for (const int depth : {131071, 131072}) {
    SCOPED_TRACE(depth);
    const std::string d = std::to_string(depth);
    expect_literal(Attention{.q = "1,4," + d, .k = "1,2," + d, .v = "1,2,8"}.graph(), {},
                   [&](const std::string& steps, IsaSet isas) {
                     EXPECT_EQ(count(steps, "attention_q8"), isas != IsaSet() && depth < 131072 ? 1 : 0) << steps;
                   });
  }
}

}  // namespace
}  // namespace zeropoint::engine
