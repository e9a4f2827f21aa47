#include "kernels/layout/blocked_body.h"

namespace zeropoint::kernels {

const LayoutFunctions layout_avx2 = {.transpose = transpose, .strided_copy = strided_copy};

}  // namespace zeropoint::kernels
