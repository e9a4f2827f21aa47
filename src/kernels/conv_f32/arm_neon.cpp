#include "kernels/conv_f32/vector_body.h"

namespace zeropoint::kernels {

const ConvF32Functions conv_f32_neon = {.lanes = kLanes, .block = kBlockVectors, .dense = dense, .depthwise = depthwise};

}  // namespace zeropoint::kernels
