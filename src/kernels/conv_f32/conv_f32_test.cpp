#include "kernels/conv_f32/conv_f32.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <thread>
#include <vector>

#include "base/aligned_buffer.h"
#include "kernels/conv_f32/entries.h"

#if defined(ZEROPOINT_WITH_ONEDNN)
extern "C" int omp_get_max_threads(void);
extern "C" void omp_set_num_threads(int threads);
#endif

namespace zeropoint::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr std::uint32_t kSeed = 20240611;

struct Case {
  const char* name;
  ConvF32Shape shape;
  bool bias = true;
};

std::int64_t out_size(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t dilation, std::int64_t padding) {
  return (in + padding - (kernel - 1) * dilation - 1) / stride + 1;
}

ConvF32Shape make_shape(std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t ic, std::int64_t oc, std::int64_t groups,
                        std::int64_t kernel, std::int64_t stride, std::int64_t dilation, std::int64_t near_pad,
                        std::int64_t far_pad, std::int64_t gap = 0) {
  ConvF32Shape s{.n = n, .h = h, .w = w, .ic = ic, .oc = oc, .groups = groups};
  s.kernel_h = s.kernel_w = kernel;
  s.stride_h = s.stride_w = stride;
  s.dilation_h = s.dilation_w = dilation;
  s.pad_top = s.pad_left = near_pad;
  s.pad_bottom = s.pad_right = far_pad;
  s.oh = out_size(h, kernel, stride, dilation, near_pad + far_pad);
  s.ow = out_size(w, kernel, stride, dilation, near_pad + far_pad);
  s.src_pixel_stride = ic + gap;
  s.dst_pixel_stride = oc + gap;
  s.residual_pixel_stride = oc + 2 * gap;
  return s;
}

ConvF32Shape oblong(ConvF32Shape s) {
  s.kernel_w = 1;
  s.stride_h = 2;
  s.pad_left = s.pad_right = 0;
  s.oh = out_size(s.h, s.kernel_h, s.stride_h, s.dilation_h, s.pad_top + s.pad_bottom);
  s.ow = out_size(s.w, 1, s.stride_w, 1, 0);
  return s;
}

std::vector<Case> cases() {
  std::vector<Case> list = {
      {"first layer", make_shape(1, 17, 17, 3, 32, 1, 3, 2, 1, 1, 1)},
      {"first layer asymmetric", make_shape(2, 16, 16, 3, 20, 1, 3, 2, 1, 0, 1)},
      {"7x7", make_shape(1, 19, 19, 3, 16, 1, 7, 2, 1, 3, 3)},
      {"3x3", make_shape(1, 9, 11, 16, 32, 1, 3, 1, 1, 1, 1)},
      {"3x3 odd channels", make_shape(2, 7, 7, 5, 19, 1, 3, 1, 1, 1, 1)},
      {"no bias", make_shape(1, 6, 6, 8, 8, 1, 3, 1, 1, 1, 1), false},
      {"dilated", make_shape(1, 12, 12, 8, 24, 1, 3, 1, 2, 2, 2)},
      {"padding wider than the input", make_shape(1, 2, 2, 4, 8, 1, 5, 1, 1, 4, 4)},
      {"unused padding", make_shape(1, 8, 8, 8, 8, 1, 3, 2, 1, 1, 1)},
      {"1x1", make_shape(1, 13, 7, 24, 40, 1, 1, 1, 1, 0, 0)},
      {"1x1 gaps", make_shape(1, 13, 7, 24, 40, 1, 1, 1, 1, 0, 0, 16)},
      {"1x1 stride", make_shape(1, 8, 8, 16, 48, 1, 1, 2, 1, 0, 0)},
      {"one output channel", make_shape(1, 5, 5, 7, 1, 1, 1, 1, 1, 0, 0)},
      {"grouped", make_shape(1, 9, 9, 24, 36, 3, 3, 1, 1, 1, 1)},
      {"grouped wide", make_shape(1, 6, 6, 64, 64, 2, 3, 2, 1, 1, 1)},
      {"depthwise", make_shape(1, 9, 10, 32, 32, 32, 3, 1, 1, 1, 1)},
      {"depthwise stride", make_shape(2, 11, 12, 40, 40, 40, 3, 2, 1, 1, 1)},
      {"depthwise 5x5 gaps", make_shape(1, 9, 9, 33, 33, 33, 5, 1, 1, 2, 2, 3)},
      {"depthwise 5x5 asymmetric", make_shape(1, 14, 14, 48, 48, 48, 5, 2, 1, 1, 2)},
      {"depthwise narrow", make_shape(1, 7, 1, 16, 16, 16, 3, 1, 1, 1, 1)},
      {"depthwise few channels", make_shape(1, 5, 5, 3, 3, 3, 3, 1, 1, 1, 1)},
      {"depthwise dilated", make_shape(1, 12, 12, 16, 16, 16, 3, 1, 3, 3, 3)},
      {"depth multiplier", make_shape(1, 6, 6, 8, 16, 8, 3, 1, 1, 1, 1)},
      {"oblong", oblong(make_shape(1, 12, 9, 12, 18, 1, 3, 1, 1, 1, 1))},
      {"deep", make_shape(1, 2, 2, 1030, 17, 1, 1, 1, 1, 0, 0)},
  };
  for (const std::int64_t m : {1, 2, 5, 6, 7, 14, 15, 31, 64})
    for (const std::int64_t n : {1, 8, 15, 16, 17, 32, 33, 64, 65}) {
      ConvF32Shape s{
          .w = m, .ic = 19, .ow = m, .oc = n, .src_pixel_stride = 19, .dst_pixel_stride = n, .residual_pixel_stride = n};
      list.push_back({"matmul", s});
    }
  return list;
}

struct Data {
  Data(const ConvF32Shape& s, std::mt19937& random)
      : src(fill(s.n * s.h * s.w * s.src_pixel_stride, random)),
        residual(fill(s.n * s.oh * s.ow * s.residual_pixel_stride, random)),
        weights(fill(s.oc * s.ic / s.groups * s.kernel_h * s.kernel_w, random)),
        bias(fill(s.oc, random)) {}
  static std::vector<float> fill(std::int64_t count, std::mt19937& random) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& v : values) v = normal(random);
    return values;
  }
  std::vector<float> src, residual, weights, bias;
};

// Everywhere in dst before a run: the residual of the in-place cases, and what must stay in the gaps.
constexpr float kBefore = 0.125F;

std::vector<float> run(const ConvF32& conv, const ConvF32Shape& s, const Data& data, int workers) {
  std::vector<float> dst(static_cast<std::size_t>(s.n * s.oh * s.ow * s.dst_pixel_stride), kBefore);
  const AlignedBuffer scratch = allocate_aligned(std::max<std::size_t>(conv.scratch_bytes(), 64));
  std::vector<std::thread> threads;
  for (int worker = 0; worker < workers; ++worker)
    threads.emplace_back(
        [&, worker] { conv.run(data.src.data(), data.residual.data(), dst.data(), scratch.get(), worker, workers); });
  for (std::thread& thread : threads) thread.join();
  return dst;
}

class ConvF32Entry : public testing::TestWithParam<const ConvF32Kernel*> {};

TEST_P(ConvF32Entry, EqualsReference) {
  const ConvF32Kernel& kernel = *GetParam();
  if (!detected_isas().contains(kernel.needs)) GTEST_SKIP() << "this machine has no " << name(kernel.needs);
  std::mt19937 random(kSeed);
  int ran = 0;
  for (const Case& test : cases()) {
    if (!kernel.supports(test.shape)) continue;
    ++ran;
    const ConvF32Shape& s = test.shape;
    const Data data(s, random);
    const float* bias = test.bias ? data.bias.data() : nullptr;
    for (const ConvF32Epilogue& epilogue :
         {ConvF32Epilogue{}, ConvF32Epilogue{.low = 0}, ConvF32Epilogue{.low = -0.5F, .high = 0.75F},
          ConvF32Epilogue{.high = 0.25F}, ConvF32Epilogue{.residual = true}, ConvF32Epilogue{.residual = true, .low = 0},
          ConvF32Epilogue{.residual = true, .in_place = true, .low = 0}}) {
      SCOPED_TRACE(testing::Message() << test.name << ", oc " << s.oc << ", pixels " << s.oh * s.ow << ", residual "
                                      << epilogue.residual << ", clamp " << epilogue.low << " " << epilogue.high << ", seed "
                                      << kSeed);
      const auto expected = run(*create_conv_f32_reference(s, epilogue, data.weights.data(), bias, 1), s, data, 1);
      for (const int workers : {1, 3}) {
        const auto conv = kernel.create(s, epilogue, data.weights.data(), bias, workers);
        ASSERT_NE(conv, nullptr);
        const auto actual = run(*conv, s, data, workers);
        if (!kernel.library) {
          ASSERT_EQ(std::memcmp(actual.data(), expected.data(), actual.size() * sizeof(float)), 0);
          continue;
        }
        // fp32 sums of up to K products of size 1 in another order.
        const float tolerance = 4e-6F * std::sqrt(static_cast<float>(s.ic / s.groups * s.kernel_h * s.kernel_w)) + 1e-5F;
        for (std::size_t i = 0; i < actual.size(); ++i) ASSERT_NEAR(actual[i], expected[i], tolerance) << "at " << i;
      }
    }
  }
  EXPECT_GT(ran, 0);
}

// The engine fuses an Add behind a product where nothing else reads the product: that must not show.
TEST_P(ConvF32Entry, BiasIsAddedToTheFinishedSum) {
  const ConvF32Kernel& kernel = *GetParam();
  if (!detected_isas().contains(kernel.needs)) GTEST_SKIP() << "this machine has no " << name(kernel.needs);
  if (kernel.library) GTEST_SKIP() << "a library adds as it likes";
  std::mt19937 random(kSeed);
  for (const Case& test : cases()) {
    const ConvF32Shape& s = test.shape;
    const Data data(s, random);
    const auto fused = run(*kernel.create(s, {}, data.weights.data(), data.bias.data(), 1), s, data, 1);
    auto added = run(*kernel.create(s, {}, data.weights.data(), nullptr, 1), s, data, 1);
    for (std::int64_t pixel = 0; pixel < s.n * s.oh * s.ow; ++pixel)
      for (std::int64_t o = 0; o < s.oc; ++o)
        added[static_cast<std::size_t>(pixel * s.dst_pixel_stride + o)] += data.bias[static_cast<std::size_t>(o)];
    EXPECT_EQ(std::memcmp(fused.data(), added.data(), fused.size() * sizeof(float)), 0)
        << test.name << ", oc " << s.oc << ", pixels " << s.oh * s.ow << ", seed " << kSeed;
  }
}

// One primitive, several threads at once, each with its own buffers.
TEST_P(ConvF32Entry, RunsConcurrently) {
  const ConvF32Kernel& kernel = *GetParam();
  if (!detected_isas().contains(kernel.needs)) GTEST_SKIP() << "this machine has no " << name(kernel.needs);
  const ConvF32Shape s = make_shape(1, 14, 14, 32, 32, 32, 3, 1, 1, 1, 1);
  if (!kernel.supports(s)) GTEST_SKIP() << "shape";
  std::mt19937 random(kSeed);
  const Data data(s, random);
  const auto conv = kernel.create(s, {}, data.weights.data(), data.bias.data(), 1);
  const auto expected = run(*conv, s, data, 1);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (int& count : wrong)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) count += run(*conv, s, data, 1) != expected;
    });
  for (std::thread& thread : threads) thread.join();
  for (const int count : wrong) EXPECT_EQ(count, 0);
}

std::vector<const ConvF32Kernel*> entries() {
  std::vector<const ConvF32Kernel*> list;
  for (const ConvF32Kernel& kernel : conv_f32_kernels()) list.push_back(&kernel);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Table, ConvF32Entry, testing::ValuesIn(entries()),
                         [](const auto& instance) { return std::string(instance.param->name); });

#if defined(ZEROPOINT_WITH_ONEDNN)
// The number of OpenMP threads belongs to the calling thread; all in it that use OpenMP (torch, for one) go by it.
TEST(ConvF32OneDnn, LeavesTheThreadCountAlone) {
  const ConvF32Shape s = make_shape(1, 8, 8, 16, 16, 1, 3, 1, 1, 1, 1);
  std::mt19937 random(kSeed);
  const Data data(s, random);
  std::vector<float> dst(static_cast<std::size_t>(s.n * s.oh * s.ow * s.dst_pixel_stride));
  const int old = omp_get_max_threads(), before = 3;  // more than the one that primitives run on
  omp_set_num_threads(before);
  for (const int threads : {1, 2, 7}) {
    const auto conv = create_conv_f32_onednn(s, {}, data.weights.data(), nullptr, threads);
    EXPECT_EQ(omp_get_max_threads(), before);
    const AlignedBuffer scratch = allocate_aligned(std::max<std::size_t>(conv->scratch_bytes(), 64));
    conv->run(data.src.data(), data.residual.data(), dst.data(), scratch.get(), 0, 1);
    EXPECT_EQ(omp_get_max_threads(), before);
  }
  omp_set_num_threads(old);
}

// Any number of threads, the same bytes.
TEST(ConvF32OneDnn, ThreadsDoNotChangeBytes) {
  std::mt19937 random(kSeed);
  for (const ConvF32Shape& s :
       {make_shape(1, 28, 28, 32, 64, 1, 3, 1, 1, 1, 1), make_shape(1, 14, 14, 128, 96, 1, 1, 1, 1, 0, 0),
        make_shape(1, 28, 28, 48, 48, 48, 5, 2, 1, 2, 2), make_shape(4, 9, 9, 16, 24, 1, 3, 1, 1, 1, 1),
        make_shape(1, 1, 5, 512, 320, 1, 1, 1, 1, 0, 0), make_shape(1, 4, 4, 256, 256, 1, 3, 1, 1, 1, 1),
        make_shape(1, 2, 2, 128, 128, 128, 3, 1, 1, 1, 1), make_shape(2, 12, 12, 16, 16, 1, 3, 2, 1, 1, 1),
        make_shape(3, 11, 11, 16, 24, 1, 3, 1, 2, 2, 2), make_shape(1, 3, 3, 16, 16, 1, 3, 1, 1, 5, 5)}) {
    const Data data(s, random);
    const auto one = run(*create_conv_f32_onednn(s, {}, data.weights.data(), nullptr, 1), s, data, 1);
    for (const int threads : {2, 3, 5, 7, 16})
      EXPECT_EQ(run(*create_conv_f32_onednn(s, {}, data.weights.data(), nullptr, threads), s, data, 1) == one, true)
          << threads << " threads, " << s.ic << " to " << s.oc << " channels, " << s.oh << " x " << s.ow << ", "
          << create_conv_f32_onednn(s, {}, data.weights.data(), nullptr, threads)->name();
  }
}
#endif

TEST(ConvF32Select, FollowsTheMask) {
  const ConvF32Shape s = make_shape(1, 8, 8, 16, 16, 1, 3, 1, 1, 1, 1);
  EXPECT_STREQ(select_conv_f32(s, IsaSet(), false).name, "conv_f32_reference");
  EXPECT_FALSE(select_conv_f32(s, detected_isas(), false).library);
  for (const ConvF32Kernel& kernel : conv_f32_kernels()) {
    if (kernel.library) continue;
    EXPECT_STREQ(select_conv_f32(s, implied_isas(kernel.needs), false).name, kernel.name);
    if (!detected_isas().contains(kernel.needs)) continue;
    EXPECT_NE(create_conv_f32(s, {}, std::vector<float>(2304).data(), nullptr, 1, implied_isas(kernel.needs)), nullptr);
  }
  if (detected_isas().contains(Isa::avx512vnni)) {
    EXPECT_FALSE(select_conv_f32(s, implied_isas(Isa::avx2)).library);  // capped: the library would not keep to it
  }
}

}  // namespace
}  // namespace zeropoint::kernels
