#include "base/buffer_pool.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

namespace zeropoint {
namespace {

TEST(BufferPool, GivesADroppedBufferAgainToWhoAsksForItsSize) {
  const auto pool = BufferPool::make();
  auto first = pool->take(1 << 20);
  const std::byte* address = first.get();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(address) % 64, 0U);
  const auto second = pool->take(1 << 20);
  EXPECT_NE(second.get(), address) << "the first is still in use";
  first.reset();
  const auto smaller = pool->take(1 << 19);
  EXPECT_NE(smaller.get(), address);
  EXPECT_EQ(pool->take(1 << 20).get(), address);
}

TEST(BufferPool, BuffersOutliveIt) {
  auto pool = BufferPool::make();
  auto buffer = pool->take(1 << 16);
  pool.reset();
  buffer[0] = buffer[65535] = std::byte{1};
}

TEST(BufferPool, ServesThreads) {
  const auto pool = BufferPool::make();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        const auto own = pool->take(1 << 12);
        own[0] = static_cast<std::byte>(t);
        std::this_thread::yield();
        EXPECT_EQ(own[0], static_cast<std::byte>(t));
      }
    });
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace zeropoint
