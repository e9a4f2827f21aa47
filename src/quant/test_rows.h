// Layers of random numbers for tests of rounding.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "zeropoint/rounding.h"

namespace zeropoint::test_rows {

// Inputs that hang together: each is a mix of few sources and a little noise.
inline LayerRows correlated_rows(std::mt19937& random, std::int64_t rows, std::int64_t groups, std::int64_t depth,
                                 std::int64_t outputs) {
  std::normal_distribution<float> normal;
  LayerRows result{.rows = rows, .groups = groups, .depth = depth, .outputs = outputs};
  const std::int64_t sources = std::max<std::int64_t>(1, depth / 3);
  std::vector<float> mix(static_cast<std::size_t>(groups * depth * sources)), source(static_cast<std::size_t>(sources));
  for (float& value : mix) value = normal(random);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (float& value : source) value = normal(random);
    for (std::int64_t i = 0; i < groups * depth; ++i) {
      float value = 0.3F * normal(random);
      for (std::int64_t s = 0; s < sources; ++s)
        value += mix[static_cast<std::size_t>(i * sources + s)] * source[static_cast<std::size_t>(s)];
      result.x.push_back(value);
    }
  }
  return result;
}

inline WeightGrid random_grid(std::mt19937& random, std::int64_t outputs, std::int64_t depth, IntegerLimits limits) {
  std::normal_distribution<float> normal;
  WeightGrid grid{.outputs = outputs, .depth = depth, .limits = limits};
  for (std::int64_t o = 0; o < outputs; ++o) {
    float largest = 0;
    for (std::int64_t k = 0; k < depth; ++k) {
      grid.weight.push_back(normal(random));
      largest = std::max(largest, std::abs(grid.weight.back()));
    }
    for (std::int64_t k = 0; k < depth; ++k) {
      grid.scale.push_back(largest / static_cast<float>(limits.high));
      grid.zero_point.push_back(0);
    }
  }
  return grid;
}

inline void aim_at_own_output(const WeightGrid& grid, LayerRows& rows) {
  rows.target.assign(static_cast<std::size_t>(rows.rows * rows.outputs), 0.0F);
  const std::int64_t each = rows.outputs / rows.groups;
  for (std::int64_t row = 0; row < rows.rows; ++row)
    for (std::int64_t o = 0; o < rows.outputs; ++o)
      for (std::int64_t k = 0; k < rows.depth; ++k)
        rows.target[static_cast<std::size_t>(row * rows.outputs + o)] +=
            grid.weight[static_cast<std::size_t>(o * rows.depth + k)] *
            rows.x[static_cast<std::size_t>((row * rows.groups + o / each) * rows.depth + k)];
}

inline double sum(const std::vector<double>& values) {
  double result = 0;
  for (const double value : values) result += value;
  return result;
}

// The least error over all 2^n choices of the lower or the upper neighbour of each weight.
inline double best_of_all(const WeightGrid& grid, const LayerRows& rows) {
  const auto count = static_cast<std::size_t>(grid.depth);
  double best = std::numeric_limits<double>::infinity();
  std::vector<std::int32_t> q(count);
  for (std::size_t choice = 0; choice < (std::size_t{1} << count); ++choice) {
    for (std::size_t k = 0; k < count; ++k)
      q[k] = std::clamp(
          static_cast<std::int32_t>(std::floor(grid.weight[k] / grid.scale[k])) + static_cast<std::int32_t>(choice >> k & 1),
          grid.limits.low, grid.limits.high);
    best = std::min(best, output_errors(grid, q, rows, false)[0]);
  }
  return best;
}

}  // namespace zeropoint::test_rows
