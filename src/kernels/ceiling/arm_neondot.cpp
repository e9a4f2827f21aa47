#include "kernels/ceiling/arm_products.h"

namespace zeropoint::kernels {

// One sdot: four multiply-accumulates a 32-bit sum.
void ceiling_int8_neondot(void* data, std::int64_t passes) noexcept {
  repeat_product(data, passes, [](int32x4_t sum, int8x16_t x, int8x16_t w) { return vdotq_s32(sum, x, w); });
}

}  // namespace zeropoint::kernels
