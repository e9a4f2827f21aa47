#include "kernels/matmul_f32/vector_body.h"

namespace zeropoint::kernels {

const MatmulF32Functions matmul_f32_avx2 = {.run = run};

}  // namespace zeropoint::kernels
