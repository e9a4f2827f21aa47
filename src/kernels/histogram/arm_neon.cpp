#include "kernels/histogram/vector_body.h"

namespace zeropoint::kernels {
namespace {

// NEON cannot close up lanes cheaply: each value is written, and the next one overwrites it if it was zero.
BlockSummary append_bins(const float* values, int64_t count, uint32_t* bins, BinCounter& counter) noexcept {
  BinCounter local = counter;  // in registers
  const uint32x4_t magnitude = vdupq_n_u32(kMagnitude);
  float32x4_t low = vdupq_n_f32(__builtin_inff()), high = vdupq_n_f32(-__builtin_inff());
  uint32x4_t smallest = vdupq_n_u32(~0U), largest = vdupq_n_u32(0);
  int64_t next = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    const float32x4_t x = vld1q_f32(values + i);
    local.step();
    const uint32x4_t bits = vreinterpretq_u32_f32(x), size = vandq_u32(bits, magnitude);
    low = min(x, low);
    high = max(x, high);
    smallest = vminq_u32(smallest, vorrq_u32(size, vceqzq_u32(size)));
    largest = vmaxq_u32(largest, size);
    uint32_t lanes[4];
    vst1q_u32(lanes, bits);
    for (const uint32_t lane : lanes) {
      bins[next] = lane >> 15;
      next += (lane & kMagnitude) != 0;
    }
  }
  counter = local;
  return {vminvq_f32(low), vmaxvq_f32(high), vminvq_u32(smallest), vmaxvq_u32(largest), next};
}

}  // namespace

const HistogramFunctions histogram_neon = {.accumulate = accumulate, .drain = drain, .channel_summary = channel_summary};

}  // namespace zeropoint::kernels
