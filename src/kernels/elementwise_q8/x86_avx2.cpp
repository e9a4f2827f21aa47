#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "kernels/elementwise_q8/vector_body.h"

namespace zeropoint::kernels {
namespace {

// Two loads and a store an element; the form in registers takes 48 instructions for 32 elements, which is no better.
void lookup_u8(const uint8_t* table, const uint8_t* src, uint8_t* dst, int64_t count) noexcept {
  elementwise_q8_reference.lookup_u8(table, src, dst, count);
}

}  // namespace

const ElementwiseQ8Functions elementwise_q8_avx2 = {
    .quantize_u8 = quantize<uint8_t>,
    .quantize_s8 = quantize<int8_t>,
    .quantize_u16 = quantize<uint16_t>,
    .quantize_s16 = quantize<int16_t>,
    .quantize_planes_u8 = quantize_planes_u8,
    .dequantize_u8 = dequantize<uint8_t>,
    .dequantize_s8 = dequantize<int8_t>,
    .dequantize_u16 = dequantize<uint16_t>,
    .dequantize_s16 = dequantize<int16_t>,
    .dequantize_s32 = dequantize_s32,
    .lookup_u8 = lookup_u8,
    .add_u8 = add_u8,
    .mul_u8 = binary<Mul>,
    .add_channel_u8 = binary_channel<Add>,
    .mul_channel_u8 = binary_channel<Mul>,
    .epilogue_f32 = epilogue_f32,
    .epilogue_u8 = epilogue_u8,
    .split_u16 = split_u16,
    .join_f32 = join<float>,
    .join_u8 = join<uint8_t>,
    .join_u16 = join<uint16_t>,
    .min_max_f32 = min_max_f32,
    .quantize_row_u8 = quantize_row_u8,
};

}  // namespace zeropoint::kernels
