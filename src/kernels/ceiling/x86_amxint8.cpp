#include <immintrin.h>

#include "kernels/ceiling/ceiling_functions.h"
#include "kernels/x86_amx_tiles.h"

namespace zeropoint::kernels {
namespace {

constexpr std::size_t kTile = 1024, kStep = 2 * kTile;

}  // namespace

// 32 x 32 sums in four tiles: one tile load a product. Weights come past L1 (tileloaddt1), which leaves it to the inputs.
void ceiling_int8_amxint8(void* data, std::int64_t passes) noexcept {
  const TileConfig config;
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  const auto* near = static_cast<const std::uint8_t*>(data);
  for (std::int64_t pass = 0; pass < passes; ++pass)
    for (const std::uint8_t* far = near + kCeilingNear; far != near + kCeilingBytes;) {
#pragma GCC unroll 4
      for (std::size_t at = 0; at < kCeilingNear; at += kStep, far += kStep) {
        _tile_stream_loadd(6, far, 64);
        _tile_loadd(4, near + at, 64);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(5, near + at + kTile, 64);
        _tile_dpbusd(2, 5, 6);
        _tile_stream_loadd(7, far + kTile, 64);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(3, 5, 7);
      }
    }
  alignas(64) std::int32_t sums[16 * 16];
  _tile_stored(0, sums, 64);
  _tile_release();
  _mm512_store_si512(data, _mm512_load_si512(sums));
}

}  // namespace zeropoint::kernels
