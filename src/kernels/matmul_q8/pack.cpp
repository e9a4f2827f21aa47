#include <cstring>

#include "kernels/matmul_q8/entries.h"

namespace zeropoint::kernels {
namespace {

constexpr std::int64_t kColumns = 32, kStep = 64, kStepBytes = kColumns * kStep;

std::int64_t steps(const MatmulQ8Shape& s) { return (s.k + kStep - 1) / kStep; }
std::int64_t blocks(const MatmulQ8Shape& s) { return (s.n + kColumns - 1) / kColumns; }

}  // namespace

// Tiles have 16 rows; fewer rows of input leave the tile unit idle, and many columns pay for its configuration.
bool supports_tiled_matmul(const MatmulQ8Shape& s) { return s.m >= 4 && s.n >= 16 && s.k >= 1; }

std::size_t matmul_packed_bytes_tiles(const MatmulQ8Shape& s) {
  return static_cast<std::size_t>(blocks(s) * steps(s) * kStepBytes);
}

void matmul_pack_tiles(const MatmulQ8Shape& s, const std::int8_t* weights, void* packed) {
  auto* to = static_cast<std::int8_t*>(packed);
  std::memset(to, 0, matmul_packed_bytes_tiles(s));
  for (std::int64_t n = 0; n < s.n; ++n) {
    std::int8_t* block = to + n / kColumns * steps(s) * kStepBytes + n % kColumns / 16 * 1024 + n % 16 * 4;
    for (std::int64_t k = 0; k < s.k; k += 4)
      std::memcpy(block + k / kStep * kStepBytes + k % kStep / 4 * 64, weights + n * s.k + k,
                  static_cast<std::size_t>(s.k - k < 4 ? s.k - k : 4));
  }
}

bool matmul_streams(const MatmulQ8Shape& s, const float* dst) {
  constexpr std::int64_t kCachedBytes = 8 << 20, kLine = 64;
  return s.m * s.n * 4 >= kCachedBytes && reinterpret_cast<std::uintptr_t>(dst) % kLine == 0 && s.dst_stride * 4 % kLine == 0;
}

}  // namespace zeropoint::kernels
