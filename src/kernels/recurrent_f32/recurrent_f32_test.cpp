#include "kernels/recurrent_f32/recurrent_f32.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace zeropoint::kernels {
namespace {

constexpr std::uint32_t kSeed = 20240703;
constexpr RecurrentKind kKinds[] = {RecurrentKind::rnn_tanh, RecurrentKind::rnn_relu, RecurrentKind::gru,
                                    RecurrentKind::gru_linear_before_reset, RecurrentKind::lstm};
using Floats = std::vector<float>;

struct Results {
  Floats y, h, c;
  friend bool operator==(const Results&, const Results&) = default;
};

struct Problem {
  RecurrentF32Shape shape;
  Floats products, r, bias, h0, c0;

  Results run(const RecurrentF32Functions& functions, int workers) const {
    const auto size = [](std::int64_t count) { return static_cast<std::size_t>(count); };
    Floats packed(size(packed_recurrent_f32(shape.kind, shape.hidden, functions.lanes)));
    pack_recurrent_f32(shape.kind, shape.hidden, functions.lanes, r.data(), packed.data());
    const std::int64_t states = shape.batch * shape.hidden;
    Results results{Floats(size(shape.steps * states), 77), Floats(size(states), 77), Floats(size(states), 77)};
    Floats scratch(size(recurrent_f32_scratch(shape.hidden)));
    for (int worker = 0; worker < workers; ++worker)
      functions.run(shape,
                    {.products = products.data(),
                     .packed = packed.data(),
                     .bias = bias.data(),
                     .h0 = h0.empty() ? nullptr : h0.data(),
                     .c0 = c0.empty() ? nullptr : c0.data(),
                     .y = results.y.data(),
                     .h_last = results.h.data(),
                     .c_last = results.c.data()},
                    scratch.data(), shape.batch * worker / workers, shape.batch * (worker + 1) / workers);
    return results;
  }
};

class RecurrentF32Entry : public testing::TestWithParam<const RecurrentF32Kernels*> {
 protected:
  void SetUp() override {
    if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  }
  Floats floats(std::int64_t count) {
    std::normal_distribution<float> normal(0, 0.5F);
    Floats values(static_cast<std::size_t>(count));
    for (float& v : values) v = normal(random_);
    return values;
  }
  std::mt19937 random_{kSeed};
};

TEST_P(RecurrentF32Entry, EveryKindAndWidth) {
  for (const RecurrentKind kind : kKinds)
    for (const std::int64_t hidden : {1, 2, 3, 7, 8, 15, 16, 17, 33, 64})
      for (const bool reverse : {false, true})
        for (const bool states : {false, true}) {
          constexpr std::int64_t kSteps = 4, kBatch = 3;
          const std::int64_t gates = recurrent_gates(kind);
          Problem p{.shape = {.kind = kind,
                              .steps = kSteps,
                              .batch = kBatch,
                              .hidden = hidden,
                              .reverse = reverse,
                              .product_row = gates * hidden + 3,
                              .y_step = kBatch * hidden,
                              .y_row = hidden},
                    .products = floats(kSteps * kBatch * (gates * hidden + 3)),
                    .r = floats(gates * hidden * hidden),
                    .bias = floats(hidden),
                    .h0 = states ? floats(kBatch * hidden) : Floats(),
                    .c0 = states ? floats(kBatch * hidden) : Floats()};
          const Results expected = p.run(recurrent_f32_reference, 1);
          ASSERT_EQ(p.run(*GetParam()->functions, 1), expected)
              << "kind " << static_cast<int>(kind) << ", " << hidden << " units, seed " << kSeed;
          ASSERT_EQ(p.run(*GetParam()->functions, 2), expected);
        }
}

TEST_P(RecurrentF32Entry, LstmCellOfGivenProducts) {
  for (const std::int64_t hidden : {1, 7, 8, 15, 16, 17, 33, 64, 100}) {
    const Floats inputs = floats(4 * hidden), states = floats(4 * hidden), bias = floats(4 * hidden), before = floats(hidden);
    const auto run = [&](const RecurrentF32Functions& functions) {
      Results results{{}, Floats(before.size()), before};
      functions.lstm_cell(hidden, {.input_products = inputs.data(),
                                   .state_products = states.data(),
                                   .bias = bias.data(),
                                   .c = results.c.data(),
                                   .h = results.h.data()});
      return results;
    };
    ASSERT_EQ(run(*GetParam()->functions), run(recurrent_f32_reference)) << hidden << " units, seed " << kSeed;
  }
}

std::vector<const RecurrentF32Kernels*> entries() {
  std::vector<const RecurrentF32Kernels*> list;
  for (const RecurrentF32Kernels& kernel : recurrent_f32_kernels()) list.push_back(&kernel);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Table, RecurrentF32Entry, testing::ValuesIn(entries()),
                         [](const auto& instance) { return std::string(instance.param->name); });

// One unit, two steps, by the formulas.
TEST(RecurrentF32Reference, HandMade) {
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  Problem p{
      .shape = {.kind = RecurrentKind::lstm, .steps = 2, .batch = 1, .hidden = 1, .product_row = 4, .y_step = 1, .y_row = 1},
      .products = {0.1F, 0.2F, 0.3F, 0.4F, -0.1F, -0.2F, -0.3F, -0.4F},
      .r = {0.5F, 0.6F, 0.7F, 0.8F}};
  double h = 0, c = 0;
  for (int step = 0; step < 2; ++step) {
    const auto gate = [&](std::size_t g) {
      return static_cast<double>(p.products[static_cast<std::size_t>(step) * 4 + g]) + h * static_cast<double>(p.r[g]);
    };
    const double i = sigmoid(gate(0)), o = sigmoid(gate(1)), f = sigmoid(gate(2));
    c = f * c + i * std::tanh(gate(3));
    h = o * std::tanh(c);
  }
  const Results results = p.run(recurrent_f32_reference, 1);
  EXPECT_NEAR(results.h[0], h, 1e-6);
  EXPECT_NEAR(results.c[0], c, 1e-6);
  EXPECT_EQ(results.y[1], results.h[0]);
}

// The cell is the recurrent part where one unit has no products of its own.
TEST(RecurrentF32Reference, LstmCellIsOneStepOfTheRecurrence) {
  const Problem p{.shape = {.kind = RecurrentKind::lstm, .steps = 1, .batch = 1, .hidden = 1, .product_row = 4, .y_row = 1},
                  .products = {0.1F, 0.2F, -0.3F, 0.4F},
                  .r = {0, 0, 0, 0},
                  .c0 = {0.7F}};
  const Results expected = p.run(recurrent_f32_reference, 1);
  const Floats zeros(4);
  float c = 0.7F, h = 0;
  recurrent_f32_reference.lstm_cell(
      1, {.input_products = p.products.data(), .state_products = zeros.data(), .bias = zeros.data(), .c = &c, .h = &h});
  EXPECT_EQ(c, expected.c[0]);
  EXPECT_EQ(h, expected.h[0]);
}

TEST(RecurrentF32Select, FollowsTheMask) {
  EXPECT_STREQ(select_recurrent_f32(IsaSet()).name, "recurrent_f32_reference");
  for (const RecurrentF32Kernels& kernel : recurrent_f32_kernels())
    EXPECT_STREQ(select_recurrent_f32(implied_isas(kernel.needs)).name, kernel.name);
}

}  // namespace
}  // namespace zeropoint::kernels
