// The order in which fp32 sums along a contiguous row are formed (softmax, layer normalization, reductions): element i goes to
// lane i mod 16, in order; then lanes 8 apart are added, then 4, 2, 1. One order, so that vectors and loops agree in every bit.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace zeropoint::numerics {

template <class T>
T lane_sum(std::span<const T> values) {
  constexpr std::size_t kLanes = 16;
  std::array<T, kLanes> lanes{};
  for (std::size_t i = 0; i < values.size(); ++i) lanes[i % kLanes] += values[i];
  for (std::size_t apart = kLanes / 2; apart > 0; apart /= 2)
    for (std::size_t lane = 0; lane < apart; ++lane) lanes[lane] += lanes[lane + apart];
  return lanes[0];
}

}  // namespace zeropoint::numerics
