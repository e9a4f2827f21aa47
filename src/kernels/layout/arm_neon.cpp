#include "kernels/layout/blocked_body.h"

namespace zeropoint::kernels {

const LayoutFunctions layout_neon = {.transpose = transpose, .strided_copy = strided_copy};

}  // namespace zeropoint::kernels
