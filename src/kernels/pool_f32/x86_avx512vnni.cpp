#include "kernels/pool_f32/vector_body.h"

namespace zeropoint::kernels {

const PoolF32Functions pool_f32_avx512vnni = {.max = max, .average = average};

}  // namespace zeropoint::kernels
