// Products of transformers, floats in and out, each as it is met in a network: many sets of weights in turn, so that they are
// cold. kernels_bench --benchmark_filter=matmul_q8
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/matmul_q8/matmul_q8.h"

namespace zeropoint::kernels {
namespace {

void measure(benchmark::State& state, const MatmulQ8Kernel& kernel, MatmulQ8Shape s, MatmulQ8Function function, int layers) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 30);
  s.src_stride = s.k, s.dst_stride = s.residual_stride = s.n;
  std::vector<std::int8_t> weights(static_cast<std::size_t>(s.n * s.k));
  for (auto& w : weights) w = static_cast<std::int8_t>(std::clamp(normal(random), -127.0F, 127.0F));
  const std::size_t bytes = (kernel.packed_bytes(s) + 63) / 64 * 64;
  const auto packed = allocate_aligned(bytes * static_cast<std::size_t>(layers));
  for (int i = 0; i < layers; ++i) kernel.pack(s, weights.data(), packed.get() + bytes * static_cast<std::size_t>(i));
  std::vector<float> x(static_cast<std::size_t>(s.m * s.k)), scale(static_cast<std::size_t>(s.n), 1e-3F), bias(scale);
  for (float& v : x) v = normal(random);
  std::vector<std::int32_t> comp(scale.size(), 5);
  const auto dst = allocate_aligned(static_cast<std::size_t>(s.m * s.n) * 4);
  const auto workspace = allocate_aligned(kernel.workspace_bytes(s, 1));
  MatmulQ8Args a{
      .src = x.data(), .source = MatmulQ8Source::f32, .comp = comp.data(), .scale = scale.data(), .bias = bias.data()};
  a.low = -std::numeric_limits<float>::infinity(), a.high = std::numeric_limits<float>::infinity();
  a.function = function;
  a.dst = reinterpret_cast<float*>(dst.get()), a.workspace = workspace.get();
  kernel.run(s, (a.packed = packed.get(), a), 0, 1);  // touches the pages
  double best = std::numeric_limits<double>::infinity();
  std::size_t turn = 0;
  for (auto _ : state) {
    a.packed = packed.get() + bytes * (turn++ % static_cast<std::size_t>(layers));
    const auto start = std::chrono::steady_clock::now();
    kernel.run(s, a, 0, 1);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  state.counters["best_us"] = best * 1e6;
  state.counters["best_GOP/s"] = 2e-9 * static_cast<double>(s.m * s.k * s.n) / best;
}

const bool registered = [] {
  struct Case {
    const char* name;
    MatmulQ8Shape shape;
    MatmulQ8Function function;
    int layers;
  };
  constexpr auto kNone = MatmulQ8Function::none, kGelu = MatmulQ8Function::gelu;
  for (const Case& c : {Case{"bert_qkv", {.m = 128, .k = 768, .n = 2304}, kNone, 12},
                        Case{"bert_output", {.m = 128, .k = 768, .n = 768}, kNone, 40},
                        Case{"bert_wide", {.m = 128, .k = 768, .n = 3072}, kGelu, 12},
                        Case{"bert_wide_no_gelu", {.m = 128, .k = 768, .n = 3072}, kNone, 12},
                        Case{"bert_narrow", {.m = 128, .k = 3072, .n = 768}, kNone, 12},
                        Case{"minilm_qkv", {.m = 64, .k = 384, .n = 1152}, kNone, 12},
                        Case{"minilm_wide", {.m = 64, .k = 384, .n = 1536}, kGelu, 12},
                        Case{"minilm_narrow", {.m = 64, .k = 1536, .n = 384}, kNone, 12},
                        Case{"linear", {.m = 1000, .k = 1024, .n = 120000}, kNone, 1}})
    for (const MatmulQ8Kernel& kernel : matmul_q8_kernels()) {
      if (kernel.needs == Isa::scalar || !detected_isas().contains(kernel.needs)) continue;
      benchmark::RegisterBenchmark(
          fmt::format("matmul_q8/{}/{}", c.name, kernel.name).c_str(),
          [c, &kernel](benchmark::State& state) { measure(state, kernel, c.shape, c.function, c.layers); });
    }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
