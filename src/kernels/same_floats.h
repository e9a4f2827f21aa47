// Comparison of float results in tests of kernels.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace zeropoint::kernels {

inline bool same_floats(const std::vector<float>& a, const std::vector<float>& b) {  // any NaN is as good as another
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::bit_cast<std::uint32_t>(a[i]) != std::bit_cast<std::uint32_t>(b[i]) && !(std::isnan(a[i]) && std::isnan(b[i])))
      return false;
  return true;
}

}  // namespace zeropoint::kernels
