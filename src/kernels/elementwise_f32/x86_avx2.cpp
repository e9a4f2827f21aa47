#include "kernels/elementwise_f32/vector_body.h"

namespace zeropoint::kernels {

const ElementwiseF32Functions elementwise_f32_avx2 = {.binary = binary,
                                                      .binary_scalar = binary_scalar,
                                                      .binary_channel = binary_channel,
                                                      .binary_broadcast = binary_broadcast,
                                                      .clamp = clamp,
                                                      .unary = unary};

}  // namespace zeropoint::kernels
