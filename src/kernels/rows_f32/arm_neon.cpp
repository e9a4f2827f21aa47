#include "kernels/rows_f32/vector_body.h"

namespace zeropoint::kernels {

const RowsF32Functions rows_f32_neon = {
    .softmax = softmax, .normalize = normalize, .reduce = reduce, .reduce_columns = reduce_columns};

}  // namespace zeropoint::kernels
