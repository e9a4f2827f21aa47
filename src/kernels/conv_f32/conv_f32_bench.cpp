// GFLOP/s of each entry on layers of EfficientNet-Lite0 and ResNet-50, one thread. Run: kernels_bench
// --benchmark_filter=ConvF32
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/conv_f32/conv_f32.h"

namespace zeropoint::kernels {
namespace {

struct Layer {
  const char* name;
  std::int64_t size, ic, oc, kernel, stride, groups = 1;
  bool residual = false;
};

constexpr Layer kLayers[] = {
    {"stem3x3", 224, 3, 32, 3, 2},
    {"stem7x7", 224, 3, 64, 7, 2},
    {"dw3x3_112x32", 112, 32, 32, 3, 1, 32},
    {"dw3x3s2_112x96", 112, 96, 96, 3, 2, 96},
    {"dw5x5_28x240", 28, 240, 240, 5, 1, 240},
    {"dw5x5_14x672", 14, 672, 672, 5, 1, 672},
    {"dw3x3_7x1152", 7, 1152, 1152, 3, 1, 1152},
    {"expand_112x16x96", 112, 16, 96, 1, 1},
    {"expand_28x40x240", 28, 40, 240, 1, 1},
    {"project_14x672x112", 14, 672, 112, 1, 1, 1, true},
    {"project_7x1152x192", 7, 1152, 192, 1, 1, 1, true},
    {"1x1_56x64x256", 56, 64, 256, 1, 1, 1, true},
    {"3x3_56x64", 56, 64, 64, 3, 1},
    {"3x3_14x256", 14, 256, 256, 3, 1},
    {"3x3_7x512", 7, 512, 512, 3, 1},
    {"fc_1280x1000", 1, 1280, 1000, 1, 1},
};

ConvF32Shape shape_of(const Layer& layer) {
  ConvF32Shape s{.h = layer.size, .w = layer.size, .ic = layer.ic, .oc = layer.oc, .groups = layer.groups};
  s.kernel_h = s.kernel_w = layer.kernel;
  s.stride_h = s.stride_w = layer.stride;
  s.oh = s.ow = (layer.size + layer.stride - 1) / layer.stride;
  s.pad_top = s.pad_left = s.pad_bottom = s.pad_right = layer.kernel / 2;
  s.src_pixel_stride = layer.ic;
  s.dst_pixel_stride = s.residual_pixel_stride = layer.oc;
  return s;
}

const bool kRegistered = [] {
  for (const ConvF32Kernel& kernel : conv_f32_kernels()) {
    if (!detected_isas().contains(kernel.needs)) continue;
    for (const Layer& layer : kLayers)
      benchmark::RegisterBenchmark(
          (std::string("ConvF32/") + kernel.name + "/" + layer.name).c_str(), [&kernel, &layer](benchmark::State& state) {
            const ConvF32Shape s = shape_of(layer);
            std::mt19937 random(1);
            std::normal_distribution<float> normal;
            const auto fill = [&](std::int64_t count) {
              AlignedBuffer buffer = allocate_aligned(static_cast<std::size_t>(count) * sizeof(float));
              std::generate_n(reinterpret_cast<float*>(buffer.get()), count, [&] { return normal(random); });
              return buffer;
            };
            const auto floats = [](const AlignedBuffer& buffer) { return reinterpret_cast<float*>(buffer.get()); };
            const std::int64_t taps = s.kernel_h * s.kernel_w, inputs = s.ic / s.groups, pixels = s.oh * s.ow;
            const AlignedBuffer src = fill(s.h * s.w * s.ic), weights = fill(s.oc * inputs * taps), bias = fill(s.oc);
            const AlignedBuffer dst = fill(pixels * s.oc), residual = fill(pixels * s.oc);
            const auto conv =
                kernel.create(s, {.residual = layer.residual, .low = 0, .high = 6}, floats(weights), floats(bias), 1);
            const AlignedBuffer scratch = allocate_aligned(std::max<std::size_t>(conv->scratch_bytes(), 64));
            for (auto _ : state) conv->run(floats(src), floats(residual), floats(dst), scratch.get(), 0, 1);
            state.counters["GFLOP/s"] = benchmark::Counter(
                2e-9 * static_cast<double>(pixels * s.oc * inputs * taps * state.iterations()), benchmark::Counter::kIsRate);
          });
  }
  return true;
}();

}  // namespace
}  // namespace zeropoint::kernels
