#include "kernels/attention_q8/vector_body.h"

namespace zeropoint::kernels {

const AttentionFunctions attention_functions_avx512vnni = {
    .quantize_rows = quantize_rows, .quantize_columns = quantize_columns, .soften = soften<>, .rescale = rescale};

}  // namespace zeropoint::kernels
