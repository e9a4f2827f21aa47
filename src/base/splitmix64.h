// SplitMix64: 64 bits by chance, the same on every platform.
#pragma once

#include <cstdint>

namespace zeropoint {

// What the generator in state `state` gives next; its state grows by kSplitMixStep each time. A hash of `state` as well.
// Source: Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators" (2014).
inline constexpr std::uint64_t kSplitMixStep = 0x9E3779B97F4A7C15U;

constexpr std::uint64_t splitmix64(std::uint64_t state) {
  state += kSplitMixStep;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9U;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBU;
  return state ^ (state >> 31);
}

}  // namespace zeropoint
