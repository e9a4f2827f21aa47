#include "pipeline/float_search.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace zeropoint {

std::vector<bool> search_float(std::span<const double> work, int most_tries,
                               const std::function<bool(const std::vector<bool>&)>& sound) {
  const std::size_t all = work.size();
  int tries = 0;
  const auto first = [&](std::size_t count) {
    ++tries;
    std::vector<bool> in_float(all, false);
    std::fill_n(in_float.begin(), count, true);
    return sound(in_float);
  };
  std::size_t too_few = 0, count = std::min<std::size_t>(1, all);
  if (count == 0) return {};
  while (!first(count)) {
    if (count == all) return {};
    too_few = count;
    count = std::min(2 * count, all);
  }
  while (count - too_few > 1 && tries < most_tries) {
    const std::size_t middle = too_few + (count - too_few) / 2;
    (first(middle) ? count : too_few) = middle;
  }
  std::vector<bool> result(all, false);
  std::fill_n(result.begin(), count, true);
  std::vector<std::size_t> by_work(count);
  std::iota(by_work.begin(), by_work.end(), std::size_t{0});
  std::stable_sort(by_work.begin(), by_work.end(), [&](std::size_t a, std::size_t b) { return work[a] > work[b]; });
  for (const std::size_t i : by_work) {
    if (tries >= most_tries || std::count(result.begin(), result.end(), true) == 1) break;
    ++tries;
    std::vector<bool> without = result;
    without[i] = false;
    if (sound(without)) result = std::move(without);
  }
  return result;
}

}  // namespace zeropoint
