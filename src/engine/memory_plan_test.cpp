#include <gmock/gmock.h>

#include <random>

#include "engine/plan.h"

namespace zeropoint::engine {
namespace {

struct Nothing : Step {
  void run(const RunContext&) const override {}
};

ValueId add_value(Plan& plan, std::size_t bytes) {
  PlanValue value;
  value.bytes = bytes;
  plan.values.push_back(value);
  return static_cast<ValueId>(plan.values.size()) - 1;
}

void add_step(Plan& plan, std::vector<ValueId> inputs, std::vector<ValueId> outputs) {
  auto step = std::make_unique<Nothing>();
  step->inputs = std::move(inputs);
  step->outputs = std::move(outputs);
  plan.steps.push_back(std::move(step));
}

TEST(MemoryPlan, ChainReusesTwoBuffers) {
  Plan plan;
  ValueId previous = add_value(plan, 1000);
  add_step(plan, {}, {previous});
  for (int i = 0; i < 20; ++i) {
    const ValueId next = add_value(plan, 1000);
    add_step(plan, {previous}, {next});
    previous = next;
  }
  plan_memory(plan);
  EXPECT_LE(plan.arena_bytes, 2 * (1000 + 2 * kSlackBytes) + 4 * kSlackBytes);
}

TEST(MemoryPlan, AliasKeepsItsRootAlive) {
  Plan plan;
  const ValueId root = add_value(plan, 256), alias = add_value(plan, 256), other = add_value(plan, 256),
                end = add_value(plan, 256);
  plan.values[static_cast<std::size_t>(alias)].place = Place::alias;
  plan.values[static_cast<std::size_t>(alias)].alias = root;
  add_step(plan, {}, {root});
  add_step(plan, {}, {other});
  add_step(plan, {alias, other}, {end});
  plan_memory(plan);
  EXPECT_NE(plan.values[static_cast<std::size_t>(root)].slot, plan.values[static_cast<std::size_t>(other)].slot);
}

struct Overwriting : Nothing {
  bool overwrites(std::size_t input) const override { return input == 0; }
};

class OverwritingTest : public ::testing::Test {
 protected:
  // a -> b, which overwrites; whether it got a's memory.
  bool shares(std::vector<ValueId> inputs) {
    auto step = std::make_unique<Overwriting>();
    step->inputs = std::move(inputs);
    step->outputs = {b_};
    plan_.steps.push_back(std::move(step));
    if (later_ != kNoValue) add_step(plan_, {later_}, {add_value(plan_, 8)});
    add_step(plan_, {b_}, {add_value(plan_, 8)});
    plan_memory(plan_);
    const PlanValue& b = plan_.values[static_cast<std::size_t>(b_)];
    return b.place == Place::alias && b.alias == a_;
  }
  PlanValue& value(ValueId id) { return plan_.values[static_cast<std::size_t>(id)]; }

  Plan plan_;
  ValueId a_ = add_value(plan_, 512), b_ = add_value(plan_, 512), view_ = add_value(plan_, 512), later_ = kNoValue;
  void SetUp() override {
    add_step(plan_, {}, {a_});
    value(view_).place = Place::alias;
    value(view_).alias = a_;
  }
};

TEST_F(OverwritingTest, AnOutputTakesWhatDies) {
  EXPECT_TRUE(shares({a_}));
  EXPECT_LT(plan_.arena_bytes, 2 * 512);
}
TEST_F(OverwritingTest, AlsoByTheNameOfAView) { EXPECT_TRUE(shares({view_})); }
TEST_F(OverwritingTest, NotWhatIsReadLater) {
  later_ = a_;
  EXPECT_FALSE(shares({a_}));
}
TEST_F(OverwritingTest, NotWhatIsReadLaterThroughAView) {
  later_ = view_;
  EXPECT_FALSE(shares({a_}));
}
TEST_F(OverwritingTest, NotWhatTheStepReadsOtherwise) { EXPECT_FALSE(shares({a_, view_})); }
TEST_F(OverwritingTest, NotAPartOfAValue) {
  value(a_).bytes = 1024;
  EXPECT_FALSE(shares({view_}));
}
TEST_F(OverwritingTest, NotWhatIsShownAfterTheStep) {
  plan_.taps.push_back({.index = 0, .value = view_, .after = 1});
  EXPECT_FALSE(shares({a_}));
}
TEST_F(OverwritingTest, WhatIsShownBeforeIt) {
  plan_.taps.push_back({.index = 0, .value = a_, .after = 0});
  EXPECT_TRUE(shares({a_}));
}
TEST_F(OverwritingTest, NotWhatIsShownAndReadLater) {
  plan_.taps.push_back({.index = 0, .value = a_, .after = 0});
  later_ = a_;
  EXPECT_FALSE(shares({a_}));
}
TEST_F(OverwritingTest, NotAnInput) {
  value(a_).place = Place::input;
  EXPECT_FALSE(shares({a_}));
}
TEST_F(OverwritingTest, NorBecomesAnOutputOne) {
  value(b_).place = Place::output;
  EXPECT_FALSE(shares({a_}));
}
TEST(MemoryPlan, AChainOfOverwritingStepsKeepsOneBuffer) {
  Plan chain;
  const ValueId first = add_value(chain, 512);
  add_step(chain, {}, {first});
  ValueId last = first;
  for (int i = 0; i < 5; ++i) {
    auto step = std::make_unique<Overwriting>();
    step->inputs = {last};
    step->outputs = {last = add_value(chain, 512)};
    chain.steps.push_back(std::move(step));
  }
  plan_memory(chain);
  EXPECT_EQ(chain.values[static_cast<std::size_t>(last)].alias, first);
}

TEST(MemoryPlan, WhatIsShownLivesAsLongAsItIsRead) {
  Plan plan;
  const ValueId shown = add_value(plan, 256), other = add_value(plan, 256), third = add_value(plan, 256),
                end = add_value(plan, 256);
  add_step(plan, {}, {shown});
  add_step(plan, {}, {other});
  add_step(plan, {other}, {third});
  add_step(plan, {shown, third}, {end});
  plan.taps.push_back({.index = 0, .value = shown, .after = 0});
  plan_memory(plan);
  for (const ValueId each : {other, third})
    EXPECT_NE(plan.values[static_cast<std::size_t>(each)].slot, plan.values[static_cast<std::size_t>(shown)].slot);
}

TEST(MemoryPlan, LiveValuesNeverOverlap) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int trial = 0; trial < 50; ++trial) {
    Plan plan;
    std::vector<std::pair<std::size_t, std::size_t>> life;
    for (std::size_t step = 0; step < 40; ++step) {
      std::vector<ValueId> inputs;
      for (int i = 0; i < 3 && !plan.values.empty(); ++i) {
        const std::size_t back = std::min<std::size_t>(plan.values.size(), 1 + random() % 6);
        inputs.push_back(static_cast<ValueId>(plan.values.size() - back));
        life[plan.values.size() - back].second = step;
      }
      const ValueId out = add_value(plan, 1 + random() % 5000);
      life.emplace_back(step, step);
      add_step(plan, inputs, {out});
    }
    plan_memory(plan);
    for (std::size_t a = 0; a < plan.values.size(); ++a) {
      EXPECT_GE(plan.values[a].slot, kSlackBytes);
      EXPECT_LE(plan.values[a].slot + plan.values[a].bytes + kSlackBytes, plan.arena_bytes);
      for (std::size_t b = 0; b < a; ++b) {
        if (life[a].second < life[b].first || life[b].second < life[a].first) continue;
        const auto &x = plan.values[a], &y = plan.values[b];
        EXPECT_TRUE(x.slot + x.bytes <= y.slot || y.slot + y.bytes <= x.slot) << a << " " << b;
      }
    }
  }
}

// Runs random plans with numbers instead of values: every step and every look at a tap finds what was written for it.
TEST(MemoryPlan, EverybodyReadsWhatWasWritten) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::size_t shared = 0;
  for (int trial = 0; trial < 200; ++trial) {
    Plan plan;
    for (int step = 0; step < 30; ++step) {
      std::vector<ValueId> inputs;
      for (int i = 0; i < 3 && !plan.values.empty(); ++i)
        inputs.push_back(
            static_cast<ValueId>(plan.values.size() - std::min<std::size_t>(plan.values.size(), 1 + random() % 6)));
      std::unique_ptr<Step> made = std::make_unique<Nothing>();
      if (random() % 2) made = std::make_unique<Overwriting>();
      made->inputs = std::move(inputs), made->outputs = {add_value(plan, 1 + random() % 3)};
      if (random() % 3 == 0) plan.taps.push_back({.index = 0, .value = made->outputs[0], .after = step});
      const ValueId view_of = made->outputs[0];
      plan.steps.push_back(std::move(made));
      if (random() % 4) continue;
      const ValueId view = add_value(plan, plan.values[static_cast<std::size_t>(view_of)].bytes);
      plan.values[static_cast<std::size_t>(view)].place = Place::alias;
      plan.values[static_cast<std::size_t>(view)].alias = view_of;
    }
    std::vector<ValueId> written_as;  // by the value that a step writes, aliases of before included
    for (std::size_t value = 0; value < plan.values.size(); ++value) {
      const PlanValue& facts = plan.values[value];
      written_as.push_back(facts.place == Place::alias ? facts.alias : static_cast<ValueId>(value));
    }
    plan_memory(plan);

    std::vector<ValueId> arena(plan.arena_bytes, kNoValue);
    const auto place = [&](ValueId value) { return plan.values[static_cast<std::size_t>(root_of(plan, value))].slot; };
    const auto expect = [&](ValueId value) {
      for (std::size_t i = 0; i < plan.values[static_cast<std::size_t>(value)].bytes; ++i)
        ASSERT_EQ(arena[place(value) + i], written_as[static_cast<std::size_t>(value)]) << value;
    };
    auto tap = plan.taps.begin();
    for (std::size_t step = 0; step < plan.steps.size(); ++step) {
      for (const ValueId input : plan.steps[step]->inputs) expect(input);
      const ValueId output = plan.steps[step]->outputs[0];
      shared += plan.values[static_cast<std::size_t>(output)].place == Place::alias;
      for (std::size_t i = 0; i < plan.values[static_cast<std::size_t>(output)].bytes; ++i) arena[place(output) + i] = output;
      for (; tap != plan.taps.end() && tap->after == static_cast<std::int64_t>(step); ++tap) expect(tap->value);
    }
  }
  EXPECT_GT(shared, 100U);
}

}  // namespace
}  // namespace zeropoint::engine
