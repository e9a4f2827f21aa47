#include <cstring>

#include "kernels/ceiling/ceiling_functions.h"

namespace zeropoint::kernels {

// The compiler may vectorize neither: that is what "no instruction set" means. A product hidden from it is not taken apart.
void ceiling_int8_reference(void* data, std::int64_t passes) noexcept {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  std::uint32_t sums[kCeilingSums] = {};
  std::int32_t x = bytes[0], w = static_cast<std::int8_t>(bytes[1]);
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (std::uint32_t& sum : sums) {
      asm volatile("" : "+r"(x), "+r"(w));
      sum += static_cast<std::uint32_t>(x * w);
    }
  }
  std::memcpy(data, sums, sizeof sums);
}

void ceiling_fp32_reference(void* data, std::int64_t passes) noexcept {
  const auto* bytes = static_cast<const std::uint8_t*>(data);
  float sums[kCeilingSums] = {};
  float x = static_cast<float>(bytes[0]) / 256, w = static_cast<float>(bytes[1]) / 256;
  for (std::int64_t i = 0; i < passes * kCeilingRounds; ++i) {
#pragma GCC unroll 12
    for (float& sum : sums) {
#if defined(__x86_64__)
      asm volatile("" : "+x"(x), "+x"(w));
#elif defined(__aarch64__)
      asm volatile("" : "+w"(x), "+w"(w));
#endif
      sum += x * w;
    }
  }
  std::memcpy(data, sums, sizeof sums);
}

}  // namespace zeropoint::kernels
