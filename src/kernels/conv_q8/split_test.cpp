// How a convolution is shared among workers: packed.h.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "kernels/conv_q8/packed.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kChannels = 32, kRows = 32;  // of a block

ConvShape picture(std::int64_t side, std::int64_t c, std::int64_t o) {
  return {.h = side, .w = side, .c = c, .oh = side, .ow = side, .o = o, .src_stride = c, .dst_stride = o};
}

Split split(const ConvShape& s, int worker, int workers) {
  const std::int64_t blocks = (s.o + kChannels - 1) / kChannels;
  return split_work(s, blocks, kChannels, blocks * kChannels * s.c * s.kh * s.kw, kRows, worker, workers);
}

// Blocks of 32 pixels by 32 channels.
std::int64_t work(const Split& part) {
  return ((part.pixels.end - part.pixels.begin + kRows - 1) / kRows) * (part.blocks.end - part.blocks.begin);
}

TEST(SplitWorkTest, EachResultBelongsToOneWorker) {
  for (const std::int64_t side : {1, 3, 7, 14, 56})
    for (const std::int64_t o : {8, 32, 96, 256, 1000, 2048})
      for (const int workers : {1, 2, 3, 4, 6, 7, 16, 64}) {
        const ConvShape s = picture(side, 64, o);
        const std::int64_t pixels = side * side, blocks = (o + kChannels - 1) / kChannels;
        std::vector<int> owners(static_cast<std::size_t>(pixels * blocks), 0);
        for (int worker = 0; worker < workers; ++worker) {
          const Split part = split(s, worker, workers);
          ASSERT_TRUE(0 <= part.pixels.begin && part.pixels.end <= pixels && 0 <= part.blocks.begin &&
                      part.blocks.end <= blocks);
          for (std::int64_t pixel = part.pixels.begin; pixel < part.pixels.end; ++pixel)
            for (std::int64_t block = part.blocks.begin; block < part.blocks.end; ++block)
              ++owners[static_cast<std::size_t>(pixel * blocks + block)];
        }
        EXPECT_TRUE(std::ranges::all_of(owners, [](int count) { return count == 1; }))
            << side << " x " << side << ", " << o << " channels, " << workers << " workers";
      }
}

TEST(SplitWorkTest, ManyWorkersFormAGridWhereOneDirectionIsTooShort) {
  // 14 x 14 pixels are 7 blocks of rows, 256 channels are 8 of columns: 16 workers have at most 4 of the 56, not 7 or 8.
  std::int64_t most = 0;
  bool cuts_pixels = false, cuts_channels = false;
  const ConvShape s = picture(14, 64, 256);
  for (int worker = 0; worker < 16; ++worker) {
    const Split part = split(s, worker, 16);
    most = std::max(most, work(part));
    cuts_pixels = cuts_pixels || part.pixels.end - part.pixels.begin < 196;
    cuts_channels = cuts_channels || part.blocks.end - part.blocks.begin < 8;
  }
  EXPECT_LE(most, 4);
  EXPECT_TRUE(cuts_pixels && cuts_channels);
}

TEST(SplitWorkTest, ByTheRuleOfTheKernel) {
  const auto by_channels = [](std::int64_t side, std::int64_t weight_bytes, const SplitRule& rule) {
    const Split part = split_work(picture(side, 64, 1024), 32, kChannels, weight_bytes, kRows, 0, 2, rule);
    return part.pixels.end == side * side;
  };
  const SplitRule near{.few_tiles = 3, .shared_bytes = 1 << 20};
  EXPECT_TRUE(by_channels(14, 0, {}));  // 98 pixels a worker
  EXPECT_FALSE(by_channels(14, 0, near));
  EXPECT_TRUE(by_channels(13, 0, near));
  EXPECT_TRUE(by_channels(28, 1 << 20, {}));
  EXPECT_FALSE(by_channels(28, 1 << 20, near));
  EXPECT_TRUE(by_channels(28, 2 << 20, near));
}

TEST(SplitWorkTest, CutsBetweenChannelsLieOnCacheLines) {
  for (const int workers : {2, 3, 4, 8})
    for (const std::int64_t o : {1024, 1056, 2048, 3040})
      for (int worker = 0; worker < workers; ++worker) {
        const Split part = split(picture(1, 512, o), worker, workers);
        if (o < 256 * workers) continue;
        EXPECT_EQ(part.blocks.begin * kChannels % 64, 0) << o << " channels, worker " << worker << " of " << workers;
      }
}

}  // namespace
}  // namespace zeropoint::kernels
