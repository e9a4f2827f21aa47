#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <cfenv>
#include <vector>

namespace zeropoint {
namespace {

TEST(ThreadPool, EveryWorkerRunsOnceARegion) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.threads(), threads);
    std::vector<int> counts(static_cast<std::size_t>(threads));
    for (int region = 0; region < 2000; ++region) pool.run([&](int worker) { ++counts[static_cast<std::size_t>(worker)]; });
    for (const int count : counts) EXPECT_EQ(count, 2000);
  }
}

TEST(ThreadPool, RoundingModeOfTheCallerStaysOutsideAndComesBack) {
  std::fesetround(FE_UPWARD);
  ThreadPool pool(2);
  int modes[2] = {-1, -1};
  pool.run([&](int worker) { modes[worker] = std::fegetround(); });
  EXPECT_EQ(modes[0], FE_TONEAREST);
  EXPECT_EQ(modes[1], FE_TONEAREST);
  EXPECT_EQ(std::fegetround(), FE_UPWARD);
  std::fesetround(FE_TONEAREST);
}

TEST(Partition, PartsAreDisjointAndComplete) {
  for (const std::int64_t count : {0, 1, 7, 64, 1000})
    for (const int workers : {1, 2, 3, 8})
      for (const std::int64_t grain : {1, 16}) {
        std::int64_t end = 0;
        for (int worker = 0; worker < workers; ++worker) {
          const Range64 part = partition(count, worker, workers, grain);
          EXPECT_EQ(part.begin, end);
          EXPECT_LE(part.begin, part.end);
          EXPECT_TRUE(part.begin % grain == 0 || part.begin == count);
          end = part.end;
        }
        EXPECT_EQ(end, count);
      }
}

}  // namespace
}  // namespace zeropoint
