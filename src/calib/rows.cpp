#include "calib/rows.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "calib/hash64.h"

namespace zeropoint::calib {

std::uint64_t row_hash(std::span<const float> row) { return hash64(std::as_bytes(row)); }

void RowSample::add(std::span<const float> row) {
  if (row.empty() || !std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) return;
  const std::uint64_t hash = row_hash(row);
  if (bytes_ >= bound_ && (kept_.empty() || hash > kept_.rbegin()->first.first)) return;
  ++kept_[{hash, Row(row.begin(), row.end())}];
  bytes_ += row.size_bytes();
  while (!kept_.empty()) {
    const auto last = std::prev(kept_.end());
    const std::uint64_t without = bytes_ - last->first.second.size() * sizeof(float);
    if (without < bound_) break;
    bytes_ = without;
    if (--last->second == 0) kept_.erase(last);
  }
}

std::vector<std::vector<float>> RowSample::rows() const {
  std::vector<std::vector<float>> result;
  for (const auto& [key, times] : kept_) result.insert(result.end(), times, key.second);
  return result;
}

}  // namespace zeropoint::calib
