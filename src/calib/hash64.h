// XXH3, 64 bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace zeropoint::calib {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed = 0);

}  // namespace zeropoint::calib
