// Multiply-accumulates a second of each entry, one sequence. The ceiling is the rate at which weights come from L2: one 64-byte
// line, 16 products, a cycle. Run: kernels_bench --benchmark_filter=RecurrentF32
#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "kernels/recurrent_f32/recurrent_f32.h"

namespace zeropoint::kernels {
namespace {

const bool kRegistered = [] {
  for (const RecurrentF32Kernels& kernel : recurrent_f32_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    for (const std::int64_t hidden : {64, 128, 256})
      benchmark::RegisterBenchmark(
          (std::string("RecurrentF32/") + kernel.name + "/lstm_" + std::to_string(hidden)).c_str(),
          [&kernel, hidden](benchmark::State& state) {
            constexpr std::int64_t kSteps = 16;
            const RecurrentF32Shape shape{
                .steps = kSteps, .batch = 1, .hidden = hidden, .product_row = 4 * hidden, .y_step = hidden, .y_row = hidden};
            const auto size = [](std::int64_t count) { return static_cast<std::size_t>(count); };
            const std::vector<float> products(size(kSteps * 4 * hidden), 0.1F);
            const std::vector<float> packed(size(packed_recurrent_f32(shape.kind, hidden, kernel.functions->lanes)), 0.01F);
            std::vector<float> y(size(kSteps * hidden)), scratch(size(recurrent_f32_scratch(hidden)));
            for (auto _ : state) {
              kernel.functions->run(shape, {.products = products.data(), .packed = packed.data(), .y = y.data()},
                                    scratch.data(), 0, 1);
              benchmark::ClobberMemory();
            }
            state.SetItemsProcessed(state.iterations() * kSteps * 4 * hidden * hidden);
          });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
