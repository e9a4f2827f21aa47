// Attention of transformers: kernels_bench --benchmark_filter=attention_q8
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/attention_q8/attention_q8.h"
#include "numerics/constant_division.h"

namespace zeropoint::kernels {
namespace {

// Q, K and V side by side, as one product leaves them.
void measure(benchmark::State& state, const AttentionKernel& kernel, std::int64_t heads, std::int64_t tokens,
             std::int64_t depth) {
  const std::int64_t width = 3 * heads * depth;
  const AttentionShape::Strides in{.batch = tokens * width, .head = depth, .row = width};
  const AttentionShape s{.heads = heads,
                         .rows = tokens,
                         .columns = tokens,
                         .depth = depth,
                         .value_depth = depth,
                         .q = in,
                         .k = in,
                         .v = in,
                         .mask = {},
                         .dst = {.batch = 0, .head = depth, .row = heads * depth}};
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(tokens * width)), y(static_cast<std::size_t>(tokens * heads * depth));
  std::vector<float> mask(static_cast<std::size_t>(tokens));
  for (float& v : x) v = normal(random);
  const auto workspace = allocate_aligned(kernel.workspace_bytes(s, 1));
  const float divisor = std::sqrt(32.0F);
  const auto parts = numerics::constant_division(divisor).value();
  const AttentionArgs a{.q = x.data(),
                        .k = x.data() + heads * depth,
                        .v = x.data() + 2 * heads * depth,
                        .mask = mask.data(),
                        .factor_kind = depth == 64 ? AttentionFactor::multiply : AttentionFactor::divide_by_parts,
                        .factor = depth == 64 ? 0.125F : divisor,
                        .inverse_high = parts.high,
                        .inverse_low = parts.low,
                        .dst = y.data(),
                        .workspace = workspace.get()};
  double best = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    kernel.run(s, a, 0, 1);
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  state.counters["best_us"] = best * 1e6;
}

const bool registered = [] {
  for (const AttentionKernel& kernel : attention_q8_kernels()) {
    if (kernel.needs == Isa::scalar || !detected_isas().contains(kernel.needs)) continue;
    const auto add = [&](const char* name, std::int64_t heads, std::int64_t tokens, std::int64_t depth) {
      benchmark::RegisterBenchmark(fmt::format("attention_q8/{}/{}", name, kernel.name).c_str(),
                                   [=, &kernel](benchmark::State& state) { measure(state, kernel, heads, tokens, depth); });
    };
    add("bert_128", 12, 128, 64);
    add("minilm_64", 12, 64, 32);
    add("bert_512", 12, 512, 64);
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
