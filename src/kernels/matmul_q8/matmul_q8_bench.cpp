// Products of transformers, floats in and out: kernels_bench --benchmark_filter=matmul_q8
// Each is met as in a network, many sets of weights in turn so that they are cold; "again" has one set. matmul_q8_network runs
// those of a whole network, layer by layer. best_GOP/s is that of the fastest call and counts two operations a multiplication;
// ceiling_% is its share of what the instruction set's loop in kernels/ceiling reaches just before and after.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/ceiling/ceiling.h"
#include "kernels/matmul_q8/matmul_q8.h"

namespace zeropoint::kernels {
namespace {

struct Case {
  const char* name;
  MatmulQ8Shape shape;
  MatmulQ8Function function;
  bool residual;
  int layers;
};

class Product {
 public:
  Product(const MatmulQ8Kernel& kernel, const Case& c, int layers) : kernel_(kernel), shape_(c.shape), layers_(layers) {
    MatmulQ8Shape& s = shape_;
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0, 30);
    s.src_stride = s.k, s.dst_stride = s.residual_stride = s.n;
    std::vector<std::int8_t> weights(static_cast<std::size_t>(s.n * s.k));
    for (auto& w : weights) w = static_cast<std::int8_t>(std::clamp(normal(random), -127.0F, 127.0F));
    bytes_ = (kernel.packed_bytes(s) + 63) / 64 * 64;
    packed_ = allocate_aligned(bytes_ * static_cast<std::size_t>(layers));
    for (int i = 0; i < layers; ++i) kernel.pack(s, weights.data(), at(i));
    x_.resize(static_cast<std::size_t>(s.m * s.k));
    for (float& v : x_) v = normal(random);
    scale_.assign(static_cast<std::size_t>(s.n), 1e-3F), bias_ = scale_, comp_.assign(scale_.size(), 5);
    dst_ = allocate_aligned(static_cast<std::size_t>(s.m * s.n) * 4);
    workspace_ = allocate_aligned(kernel.workspace_bytes(s, 1));
    args_ = {.src = x_.data(),
             .source = MatmulQ8Source::f32,
             .comp = comp_.data(),
             .scale = scale_.data(),
             .bias = bias_.data(),
             .low = -std::numeric_limits<float>::infinity(),
             .high = std::numeric_limits<float>::infinity(),
             .function = c.function,
             .dst = reinterpret_cast<float*>(dst_.get()),
             .workspace = workspace_.get()};
    if (c.residual) {
      residual_.assign(static_cast<std::size_t>(s.m * s.n), 1.0F);
      args_.residual = residual_.data();
    }
    run(0);  // touches the pages
  }
  void run(int layer) {
    args_.packed = at(layer % layers_);
    kernel_.run(shape_, args_, 0, 1);
  }
  double operations() const { return 2.0 * static_cast<double>(shape_.m * shape_.k * shape_.n); }

 private:
  std::byte* at(int layer) { return packed_.get() + bytes_ * static_cast<std::size_t>(layer); }

  const MatmulQ8Kernel& kernel_;
  MatmulQ8Shape shape_;
  int layers_;
  std::size_t bytes_ = 0;
  AlignedBuffer packed_, dst_, workspace_;
  std::vector<float> x_, scale_, bias_, residual_;
  std::vector<std::int32_t> comp_;
  MatmulQ8Args args_;
};

template <class Call>
void measure(benchmark::State& state, double operations, Isa isa, const Call& call) {
  constexpr double kCeilingSeconds = 0.02;
  Ceiling ceiling(select_ceiling(Arithmetic::int8, implied_isas(isa)), 1);
  ceiling.measure(kCeilingSeconds);
  double best = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    call();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  ceiling.measure(kCeilingSeconds);
  state.counters["best_us"] = best * 1e6;
  state.counters["best_GOP/s"] = operations * 1e-9 / best;
  state.counters["ceiling_%"] = 100 * operations / best / ceiling.operations_per_second();
}

void run_product(benchmark::State& state, const MatmulQ8Kernel& kernel, const Case& c, int layers) {
  Product product(kernel, c, layers);
  int turn = 0;
  measure(state, product.operations(), kernel.needs, [&] { product.run(turn++); });
}

void run_network(benchmark::State& state, const MatmulQ8Kernel& kernel, const std::vector<Case>& cases, int layers) {
  std::vector<std::unique_ptr<Product>> products;
  double operations = 0;
  for (const Case& c : cases) {
    products.push_back(std::make_unique<Product>(kernel, c, layers));
    operations += layers * products.back()->operations();
  }
  measure(state, operations, kernel.needs, [&] {
    for (int layer = 0; layer < layers; ++layer)
      for (auto& product : products) product->run(layer);
  });
}

const bool registered = [] {
  constexpr auto kNone = MatmulQ8Function::none, kGelu = MatmulQ8Function::gelu;
  static const std::vector<Case> bert = {{"bert_qkv", {.m = 128, .k = 768, .n = 2304}, kNone, false, 12},
                                         {"bert_output", {.m = 128, .k = 768, .n = 768}, kNone, true, 40},
                                         {"bert_wide", {.m = 128, .k = 768, .n = 3072}, kGelu, false, 12},
                                         {"bert_narrow", {.m = 128, .k = 3072, .n = 768}, kNone, true, 12}};
  static const std::vector<Case> minilm = {{"minilm_qkv", {.m = 64, .k = 384, .n = 1152}, kNone, false, 12},
                                           {"minilm_output", {.m = 64, .k = 384, .n = 384}, kNone, true, 40},
                                           {"minilm_wide", {.m = 64, .k = 384, .n = 1536}, kGelu, false, 12},
                                           {"minilm_narrow", {.m = 64, .k = 1536, .n = 384}, kNone, true, 12}};
  std::vector<Case> cases = bert;
  cases.insert(cases.end(), minilm.begin(), minilm.end());
  cases.push_back({"bert_wide_no_gelu", {.m = 128, .k = 768, .n = 3072}, kNone, false, 12});
  cases.push_back({"linear", {.m = 1000, .k = 1024, .n = 120000}, kNone, false, 1});
  for (const MatmulQ8Kernel& kernel : matmul_q8_kernels()) {
    if (kernel.needs == Isa::scalar || !detected_isas().contains(kernel.needs)) continue;
    const auto add = [&](const std::string& name, const auto& run) {
      benchmark::RegisterBenchmark(fmt::format("{}/{}", name, kernel.name).c_str(), run)->Unit(benchmark::kMicrosecond);
    };
    if (!kernel.supports(bert.front().shape)) continue;
    add("matmul_q8_network/bert", [&](benchmark::State& state) { run_network(state, kernel, bert, 12); });
    add("matmul_q8_network/minilm", [&](benchmark::State& state) { run_network(state, kernel, minilm, 6); });
    for (const Case& c : cases) {
      add(fmt::format("matmul_q8/{}", c.name), [&, c](benchmark::State& state) { run_product(state, kernel, c, c.layers); });
      if (c.layers > 1)
        add(fmt::format("matmul_q8/{}_again", c.name), [&, c](benchmark::State& state) { run_product(state, kernel, c, 1); });
    }
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
