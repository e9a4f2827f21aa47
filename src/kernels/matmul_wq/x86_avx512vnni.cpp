#include "kernels/matmul_wq/vector_body.h"

namespace zeropoint::kernels {

const MatmulWqFunctions matmul_wq_avx512vnni = {.run = run};

}  // namespace zeropoint::kernels
