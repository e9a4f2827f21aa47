// Counting in whole blocks. Internal linkage: each file owns its copy, compiled with its own flags.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {
namespace {

[[maybe_unused]] constexpr std::int64_t divide_up(std::int64_t value, std::int64_t by) { return (value + by - 1) / by; }
[[maybe_unused]] constexpr std::int64_t round_up(std::int64_t value, std::int64_t step) { return divide_up(value, step) * step; }
[[maybe_unused]] constexpr std::int64_t least(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
[[maybe_unused]] constexpr std::int64_t most(std::int64_t a, std::int64_t b) { return a > b ? a : b; }

}  // namespace
}  // namespace zeropoint::kernels
