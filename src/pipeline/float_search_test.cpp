#include "pipeline/float_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <set>
#include <vector>

namespace zeropoint {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Found {
  std::vector<std::size_t> nodes;
  int tries = 0;
};
// Of `work.size()` nodes, where a model is sound as soon as all of `needed` are in float.
Found search(const std::vector<double>& work, const std::set<std::size_t>& needed, int most_tries = 100) {
  Found found;
  std::vector<bool> last_sound;
  const std::vector<bool> chosen = search_float(work, most_tries, [&](const std::vector<bool>& in_float) {
    ++found.tries;
    for (const std::size_t node : needed)
      if (!in_float.at(node)) return false;
    last_sound = in_float;
    return true;
  });
  EXPECT_EQ(chosen, last_sound);  // whoever keeps what was sound last has the result
  for (std::size_t i = 0; i < chosen.size(); ++i)
    if (chosen[i]) found.nodes.push_back(i);
  return found;
}

TEST(FloatSearchTest, FindsTheNodesThatMustBeInFloat) {
  EXPECT_THAT(search({1, 1, 1, 1, 1}, {0}).nodes, ElementsAre(0));
  EXPECT_THAT(search({1, 1, 1, 1, 1}, {3}).nodes, ElementsAre(3));
  EXPECT_THAT(search(std::vector<double>(40, 1), {2, 17, 21}).nodes, ElementsAre(2, 17, 21));
  EXPECT_THAT(search({1, 1, 1}, {0, 1, 2}).nodes, ElementsAre(0, 1, 2));
}

TEST(FloatSearchTest, OneSuffices) {
  const Found found = search(std::vector<double>(40, 1), {0});
  EXPECT_EQ(found.tries, 1);
}

TEST(FloatSearchTest, NothingToFind) {
  EXPECT_THAT(search({}, {}).nodes, IsEmpty());
  EXPECT_THAT(search_float(std::vector<double>{1, 2, 3}, 9, [](const auto&) { return false; }), IsEmpty());
}

// Of few tries those are used up on nodes whose work is worth most.
TEST(FloatSearchTest, TheMostWorkGoesBackToIntegersFirst) {
  std::vector<double> work(8, 1);
  work[4] = 5;
  EXPECT_THAT(search(work, {7}, 7).nodes, ElementsAre(0, 1, 2, 3, 5, 6, 7));
  EXPECT_EQ(search(work, {7}, 7).tries, 7);
}

TEST(FloatSearchTest, TriesAreBounded) {
  const Found found = search(std::vector<double>(1000, 1), {600}, 24);
  EXPECT_LE(found.tries, 24);
  EXPECT_THAT(found.nodes, ::testing::Contains(600));
  EXPECT_LT(found.nodes.size(), 602U);
}

}  // namespace
}  // namespace zeropoint
