// How each entry of the fp32 convolution table is made; private to the family.
#pragma once

#include <memory>

#include "kernels/conv_f32/blocked.h"
#include "kernels/conv_f32/conv_f32.h"

namespace zeropoint::kernels {

std::unique_ptr<ConvF32> create_conv_f32_reference(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue,
                                                   const float* weights, const float* bias, int workers);
constexpr float kNoBias = -0.0F;  // x + -0 is x for every x, for 0 and -0 too

bool is_depthwise(const ConvF32Shape& shape);  // one filter a channel
std::unique_ptr<ConvF32> create_conv_f32_blocked(const char* name, const ConvF32Functions& functions, const ConvF32Shape& shape,
                                                 const ConvF32Epilogue& epilogue, const float* weights, const float* bias);
bool onednn_supports(const ConvF32Shape& shape);
std::unique_ptr<ConvF32> create_conv_f32_onednn(const ConvF32Shape& shape, const ConvF32Epilogue& epilogue,
                                                const float* weights, const float* bias, int workers);

}  // namespace zeropoint::kernels
