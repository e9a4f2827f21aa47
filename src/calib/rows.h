// A bounded sample of rows, chosen by the hashes of their contents.
//
// Of all rows seen, in (hash, contents) order, the shortest prefix that reaches the bound is kept. So what is kept depends only
// on the multiset of rows, memory exceeds the bound by less than one row, and merging is exact: a row of the union's prefix has
// less than the bound before it, hence less than the bound before it in its own part, hence was kept there.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

namespace zeropoint::calib {

class RowSample {
 public:
  explicit RowSample(std::uint64_t bound_bytes) : bound_(bound_bytes) {}
  void add(std::span<const float> row);  // empty rows and rows with NaN or infinity are not sampled
  std::vector<std::vector<float>> rows() const;
  std::uint64_t bytes() const { return bytes_; }

 private:
  using Row = std::vector<float>;
  std::uint64_t bound_, bytes_ = 0;
  std::map<std::pair<std::uint64_t, Row>, std::uint64_t> kept_;  // (hash, row) -> how often
};

std::uint64_t row_hash(std::span<const float> row);

}  // namespace zeropoint::calib
