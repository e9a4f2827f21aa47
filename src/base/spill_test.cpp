#include "base/spill.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace zeropoint {
namespace {

std::size_t anonymous_kilobytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("RssAnon:")) return std::stoul(line.substr(8));
  return 0;
}

TEST(Spill, KeepsTheBytesOutOfMemory) {
  constexpr std::size_t kSize = (std::size_t{1} << 20) + 12345;
  std::mt19937 random(1);
  std::vector<std::byte> bytes(kSize);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  std::vector<std::shared_ptr<const std::byte>> copies;
  const std::size_t before = anonymous_kilobytes();
  {
    Spill spill(4 * kSize);
    for (int i = 0; i < 100; ++i) {
      bytes[0] = static_cast<std::byte>(i);
      copies.push_back(spill.copy(bytes));
    }
  }
  EXPECT_LT(anonymous_kilobytes(), before + 20'000) << "4 of 100 MB are in memory";
  for (int i = 0; i < 100; ++i) {
    bytes[0] = static_cast<std::byte>(i);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(copies[static_cast<std::size_t>(i)].get()) % 64, 0U);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), copies[static_cast<std::size_t>(i)].get())) << i;
  }
}

TEST(Spill, TakesMemoryWhereThereIsNoFile) {
  Spill spill(0, "/nowhere");
  const std::vector<std::byte> bytes(100'000, std::byte{7});
  const auto copy = spill.copy(bytes);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), copy.get()));
  EXPECT_NE(spill.copy({}), nullptr);
}

}  // namespace
}  // namespace zeropoint
