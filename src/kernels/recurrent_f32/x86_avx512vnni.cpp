#include "kernels/recurrent_f32/vector_body.h"

namespace zeropoint::kernels {

const RecurrentF32Functions recurrent_f32_avx512vnni = {.lanes = kLanes, .run = run, .lstm_cell = lstm_cell};

}  // namespace zeropoint::kernels
