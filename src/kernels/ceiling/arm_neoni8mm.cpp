#include "kernels/ceiling/arm_products.h"

namespace zeropoint::kernels {

// A 2x8 by 8x2 product: eight multiply-accumulates a 32-bit sum.
void ceiling_int8_neoni8mm(void* data, std::int64_t passes) noexcept {
  repeat_product(data, passes, [](int32x4_t sum, int8x16_t x, int8x16_t w) { return vmmlaq_s32(sum, x, w); });
}

}  // namespace zeropoint::kernels
