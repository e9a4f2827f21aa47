#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "kernels/elementwise_q8/vector_body.h"

namespace zeropoint::kernels {
namespace {

void lookup_u8(const uint8_t* table, const uint8_t* src, uint8_t* dst, int64_t count) noexcept {
  const uint8x16x4_t t0 = vld1q_u8_x4(table), t1 = vld1q_u8_x4(table + 64);
  const uint8x16x4_t t2 = vld1q_u8_x4(table + 128), t3 = vld1q_u8_x4(table + 192);
  const uint8x16_t quarter = vdupq_n_u8(64);
  for_each_vector<kByteLanes>(0, count, [&](int64_t i, auto part) {
    uint8x16_t q = load_u8(src + i, part);  // an index beyond its quarter leaves the lane as it is
    uint8x16_t y = vqtbl4q_u8(t0, q);
    q = vsubq_u8(q, quarter);
    y = vqtbx4q_u8(y, t1, q);
    q = vsubq_u8(q, quarter);
    y = vqtbx4q_u8(y, t2, q);
    q = vsubq_u8(q, quarter);
    store_u8(dst + i, vqtbx4q_u8(y, t3, q), part);
  });
}

}  // namespace

const ElementwiseQ8Functions elementwise_q8_neon = {
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
