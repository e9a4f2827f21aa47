#include "kernels/pool_q8/vector_body.h"

namespace zeropoint::kernels {

const PoolQ8Functions pool_q8_avx512vnni = {.max_u8 = max_u8, .average_u8 = average_u8, .average_f32 = average_f32};

}  // namespace zeropoint::kernels
