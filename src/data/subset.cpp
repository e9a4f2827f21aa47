#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/splitmix64.h"
#include "zeropoint/data.h"

namespace zeropoint {

Subset::Subset(const Samples& samples, std::vector<std::size_t> indices) : samples_(&samples), indices_(std::move(indices)) {
  for (const std::size_t index : indices_)
    if (index >= samples.size())
      throw Error(ErrorCode::kBadArgument, "subset", fmt::format("index {} of {} samples", index, samples.size()));
}

std::vector<std::size_t> draw(std::size_t size, std::size_t count, std::uint64_t seed) {
  std::uint64_t state = seed;
  const auto next = [&state] {
    const std::uint64_t drawn = splitmix64(state);
    state += kSplitMixStep;
    return drawn;
  };
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  count = std::min(count, size);
  for (std::size_t i = 0; i < count; ++i) std::swap(order[i], order[i + static_cast<std::size_t>(next() % (size - i))]);
  order.resize(count);
  std::sort(order.begin(), order.end());
  return order;
}

std::vector<std::size_t> complement(std::size_t size, const std::vector<std::size_t>& indices) {
  std::vector<std::size_t> others;
  auto next = indices.begin();
  for (std::size_t i = 0; i < size; ++i) {
    if (next != indices.end() && *next == i) {
      ++next;
    } else {
      others.push_back(i);
    }
  }
  return others;
}

}  // namespace zeropoint
