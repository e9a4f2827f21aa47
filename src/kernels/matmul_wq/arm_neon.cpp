#include "kernels/matmul_wq/vector_body.h"

namespace zeropoint::kernels {

const MatmulWqFunctions matmul_wq_neon = {.run = run};

}  // namespace zeropoint::kernels
