#include "kernels/elementwise_q8/elementwise_q8_functions.h"
#include "kernels/elementwise_q8/vector_body.h"

namespace zeropoint::kernels {
namespace {

void lookup_u8(const uint8_t* table, const uint8_t* src, uint8_t* dst, int64_t count) noexcept {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
  const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  for_each_vector<kByteLanes>(0, count, [&](int64_t i, auto part) {
    const __m512i q = load_u8(src + i, part);
    const __m512i low = _mm512_permutex2var_epi8(t0, q, t1), high = _mm512_permutex2var_epi8(t2, q, t3);
    store_u8(dst + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(q), low, high), part);
  });
}

}  // namespace

const ElementwiseQ8Functions elementwise_q8_avx512vnni = {
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
