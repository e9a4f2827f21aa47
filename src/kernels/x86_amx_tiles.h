// What files of AMX kernels share. Internal linkage: each file owns its copy, compiled with its own flags.
#pragma once

#include <cstdint>

namespace zeropoint::kernels {
namespace {

// Eight tiles of 16 rows of 64 bytes, for ldtilecfg.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

}  // namespace
}  // namespace zeropoint::kernels
