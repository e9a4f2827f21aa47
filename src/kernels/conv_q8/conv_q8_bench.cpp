// Every kernel on every convolution of bench/shapes_conv.txt, on one core:
//   kernels_bench --benchmark_filter=conv_q8/efficientnet_lite0
// best_GOP/s is that of the fastest call and counts two operations a multiplication; ceiling_% is its share of what the
// instruction set's loop in kernels/ceiling reaches just before and after. conv_q8_network runs all layers of a
// network in turn, each with weights and activations of its own, by the kernels that select_conv_q8 takes under the named
// instruction set.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <chrono>
#include <limits>
#include <memory>

#include "kernels/ceiling/ceiling.h"
#include "kernels/conv_q8/conv_q8.h"
#include "kernels/conv_q8/conv_q8_layers.h"
#include "kernels/conv_q8/conv_q8_testing.h"

namespace zeropoint::kernels {
namespace {

// Times every call by itself: the best one is what the kernel does when nothing disturbs it.
template <class Call>
void measure(benchmark::State& state, double operations, Isa isa, const Call& call) {
  using Clock = std::chrono::steady_clock;
  constexpr double kCeilingSeconds = 0.02;
  Ceiling ceiling(select_ceiling(Arithmetic::int8, implied_isas(isa)), 1);
  ceiling.measure(kCeilingSeconds);
  double best = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const auto start = Clock::now();
    call();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  ceiling.measure(kCeilingSeconds);
  state.counters["best_us"] = best * 1e6;
  state.counters["best_GOP/s"] = operations * 1e-9 / best;
  state.counters["ceiling_%"] = 100 * operations / best / ceiling.operations_per_second();
}

// Most layers have a ReLU behind them; the 1x1 ones that narrow a network have none.
ConvOptions usual_options(const ConvShape& s) {
  return {.values = ConvOptions::Values::bell, .zero_point_0 = s.groups > 1 || s.o >= s.c};
}

void run_kernel(benchmark::State& state, const ConvKernel& kernel, const ConvShape& shape) {
  ConvProblem problem(shape, usual_options(shape), 1);
  problem.prepare(kernel, 1);
  measure(state, problem.operations(), kernel.needs, [&] { problem.run(0, 1); });
}

void run_network(benchmark::State& state, const std::vector<Layer>& layers, Isa isa) {
  std::vector<std::unique_ptr<ConvProblem>> problems;
  double operations = 0;
  for (const Layer& layer : layers)
    for (int i = 0; i < layer.times; ++i) {
      problems.push_back(std::make_unique<ConvProblem>(layer.shape, usual_options(layer.shape), problems.size()));
      problems.back()->prepare(*select_conv_q8(layer.shape, implied_isas(isa)), 1);
      operations += problems.back()->operations();
    }
  measure(state, operations, isa, [&] {
    for (auto& problem : problems) problem->run(0, 1);
  });
}

const bool kRegistered = [] {
  for (const auto& [network, layers] : read_layers(ZEROPOINT_SOURCE_DIR "/bench/shapes_conv.txt")) {
    for (const Isa isa : members(detected_isas())) {
      if (isa == Isa::scalar) continue;
      benchmark::RegisterBenchmark(
          fmt::format("conv_q8_network/{}/{}", network, name(isa)).c_str(),
          [&layers = *new std::vector<Layer>(layers), isa](benchmark::State& state) { run_network(state, layers, isa); })
          ->Unit(benchmark::kMicrosecond);
    }
    for (const Layer& layer : layers)
      for (const ConvKernel& kernel : conv_q8_kernels()) {
        const bool depthwise = layer.shape.groups == layer.shape.c && layer.shape.c == layer.shape.o;
        if (depthwise != kernel.name.starts_with("depthwise") || kernel.needs == Isa::scalar ||
            !detected_isas().contains(kernel.needs) || !kernel.supports(layer.shape))
          continue;
        benchmark::RegisterBenchmark(
            fmt::format("conv_q8/{}/{}/{}", network, describe(layer.shape), kernel.name).c_str(),
            [&kernel, shape = layer.shape](benchmark::State& state) { run_kernel(state, kernel, shape); })
            ->Unit(benchmark::kMicrosecond);
      }
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
