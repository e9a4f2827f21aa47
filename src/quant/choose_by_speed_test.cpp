#include "quant/choose_by_speed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace zeropoint::quant {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A chain of nodes. Each has a time in float and one in integers; where neighbours differ in kind a conversion stands between
// them, which counts for the one in integers. What a run of the whole takes is the sum, and `overhead` more for what is in
// float.
class Chain : public SpeedSource {
 public:
  struct Link {
    std::string name;
    double float_seconds, integer_seconds;
  };
  explicit Chain(std::vector<Link> links, double conversion = 0) : links_(std::move(links)), conversion_(conversion) {}

  NodeTimes in_float() override {
    NodeTimes times;
    for (const Link& link : links_) times.seconds[link.name] = link.float_seconds;
    return times;
  }
  NodeTimes quantized(const NodeNames& in_float) override {
    NodeTimes times;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      const Link& link = links_[i];
      if (in_float.contains(link.name)) {
        times.seconds[link.name] = link.float_seconds;
        continue;
      }
      const bool before = i == 0 || in_float.contains(links_[i - 1].name),
                 behind = i + 1 == links_.size() || in_float.contains(links_[i + 1].name);
      times.seconds[link.name] = link.integer_seconds + conversion_ * (before + behind);
      times.in_integers.insert(link.name);
    }
    return times;
  }
  std::optional<std::pair<double, double>> compare(const NodeNames& before, const NodeNames& after) override {
    compared.push_back(after);
    if (after.size() == links_.size()) return std::nullopt;
    return std::pair(total(before), total(after));
  }
  double total(const NodeNames& in_float) {
    double sum = overhead * static_cast<double>(in_float.size());
    for (const auto& [node, seconds] : quantized(in_float).seconds) sum += seconds;
    return sum;
  }

  double overhead = 0;
  std::vector<NodeNames> compared;

 private:
  std::vector<Link> links_;
  double conversion_;
};

std::vector<std::string> names(const std::vector<SlowerNode>& nodes) {
  std::vector<std::string> result;
  for (const SlowerNode& node : nodes) result.push_back(node.node);
  return result;
}

TEST(ChooseBySpeedTest, NothingIsSlower) {
  Chain chain({{"a", 10, 3}, {"b", 4, 4}, {"c", 7, 2}});
  EXPECT_THAT(choose_by_speed(chain), IsEmpty());
  EXPECT_THAT(chain.compared, IsEmpty()) << "nothing to propose";
}

TEST(ChooseBySpeedTest, SlowerNodesStayInFloatTheWorstFirst) {
  Chain chain({{"a", 10, 3}, {"b", 4, 6}, {"c", 7, 2}, {"d", 1, 9}});
  EXPECT_THAT(choose_by_speed(chain), ElementsAre(SlowerNode{"d", 1, 9}, SlowerNode{"b", 4, 6}));
}

TEST(ChooseBySpeedTest, ConversionsCount) {
  // Alone, b is faster in integers; with both conversions it is not. Between two others in integers it has none.
  Chain between({{"a", 10, 3}, {"b", 4, 3}, {"c", 10, 3}}, 2);
  EXPECT_THAT(choose_by_speed(between), IsEmpty());
  // When a's neighbour stays in float, the conversion between them makes a slower, too: the second round finds it.
  Chain chain({{"a", 4, 3}, {"b", 1, 9}, {"c", 20, 3}}, 0.8);
  EXPECT_THAT(names(choose_by_speed(chain)), ElementsAre("b", "a"));
}

TEST(ChooseBySpeedTest, WhatMakesTheWholeNoFasterIsNotKept) {
  Chain chain({{"a", 10, 3}, {"b", 4, 6}, {"c", 1, 2}});
  chain.overhead = 3;  // for each node in float: more than any gain
  EXPECT_THAT(choose_by_speed(chain), IsEmpty());
  EXPECT_THAT(chain.compared, ElementsAre(NodeNames{"b", "c"}, NodeNames{"b"})) << "both, then the worse half";
}

TEST(ChooseBySpeedTest, TheWorseHalfMayPay) {
  Chain chain({{"a", 10, 3}, {"b", 1, 20}, {"c", 5, 5.5}, {"d", 5, 5.4}, {"e", 5, 5.3}});
  chain.overhead = 7;  // pays for b alone
  EXPECT_THAT(names(choose_by_speed(chain)), ElementsAre("b", "c"));
  EXPECT_EQ(chain.compared.front(), (NodeNames{"b", "c", "d", "e"}));
  chain.overhead = 9.6;
  chain.compared.clear();
  EXPECT_THAT(names(choose_by_speed(chain)), ElementsAre("b"));
}

TEST(ChooseBySpeedTest, GainsBelowTwoPercentAreNoise) {
  Chain little({{"a", 1000, 100}, {"b", 9, 10}}), enough({{"a", 1000, 100}, {"b", 7, 10}});
  EXPECT_THAT(choose_by_speed(little), IsEmpty());
  EXPECT_THAT(names(choose_by_speed(enough)), ElementsAre("b"));
}

TEST(ChooseBySpeedTest, SomethingStaysInIntegers) {
  Chain chain({{"a", 1, 9}, {"b", 1, 3}});
  EXPECT_THAT(names(choose_by_speed(chain)), ElementsAre("a")) << "both would leave nothing to quantize";
}

}  // namespace
}  // namespace zeropoint::quant
