// Elements a second of each entry, in L2 (128 K). Run: kernels_bench --benchmark_filter=ElementwiseF32
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/elementwise_f32/elementwise_f32.h"

namespace zeropoint::kernels {
namespace {

const bool kRegistered = [] {
  constexpr std::int64_t kCount = 128 << 10, kChannels = 128;
  for (const ElementwiseF32Kernels& kernel : elementwise_f32_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    const ElementwiseF32Functions& k = *kernel.functions;
    const auto add = [&](const char* name, const auto& body) {
      benchmark::RegisterBenchmark((std::string("ElementwiseF32/") + kernel.name + "/" + name).c_str(),
                                   [=](benchmark::State& state) {
                                     std::vector<float> a(kCount, 0.5F), b(kCount, 1.5F), dst(kCount);
                                     for (auto _ : state) {
                                       body(a.data(), b.data(), dst.data());
                                       benchmark::ClobberMemory();
                                     }
                                     state.SetItemsProcessed(state.iterations() * kCount);
                                   });
    };
    add("add_relu", [=](const float* a, const float* b, float* dst) { k.binary({BinaryOp::add, 0}, a, b, dst, kCount); });
    add("mul_channel", [=](const float* a, const float* b, float* dst) {
      k.binary_channel({BinaryOp::mul}, a, b, false, dst, kCount / kChannels, kChannels);
    });
    add("clamp", [=](const float* a, const float*, float* dst) { k.clamp(0, 6, a, dst, kCount); });
    add("hard_swish",
        [=](const float* a, const float*, float* dst) { k.unary({UnaryOp::hard_swish, 1.0F / 6, 0.5F}, a, dst, kCount); });
    add("sigmoid", [=](const float* a, const float*, float* dst) { k.unary({UnaryOp::sigmoid}, a, dst, kCount); });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
