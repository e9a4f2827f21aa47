#include "kernels/conv_q8/conv_q8.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <thread>

#include "kernels/conv_q8/conv_q8_testing.h"

namespace zeropoint::kernels {
namespace {

using Values = ConvOptions::Values;

std::uint64_t seed() {
  static const std::uint64_t value = [] {
    const char* text = std::getenv("ZEROPOINT_TEST_SEED");
    const std::uint64_t chosen = text ? std::strtoull(text, nullptr, 10)
                                      : static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    std::cout << "seed: ZEROPOINT_TEST_SEED=" << chosen << '\n';
    return chosen;
  }();
  return value;
}

const ConvKernel& reference() { return conv_q8_kernels().back(); }

// Every test below runs once for each kernel of the table that this machine can run.
class ConvQ8 : public testing::TestWithParam<const ConvKernel*> {
 protected:
  void SetUp() override {
    if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  }

  // Runs the shape with 1, 2, 3 and 8 workers in turn over the calls, unless the kernel does not take it.
  void check(const ConvShape& shape, const ConvOptions& options = {}) {
    const ConvKernel& kernel = *GetParam();
    if (!kernel.supports(shape)) return;
    ++checked_;
    ConvProblem problem(shape, options, seed() + static_cast<std::uint64_t>(checked_));
    const auto expected = problem.result(reference(), 1);
    const int workers = std::array{1, 2, 3, 8}[static_cast<std::size_t>(checked_ % 4)];
    const auto actual = problem.result(kernel, workers);
    if (actual == expected) return;
    const auto at =
        static_cast<std::size_t>(std::mismatch(actual.begin(), actual.end(), expected.begin()).first - actual.begin());
    FAIL() << kernel.name << " differs from the reference at byte " << at << " of dst: " << int{actual[at]} << ", not "
           << int{expected[at]} << "\n"
           << describe(shape) << ", " << workers << " workers, output " << static_cast<int>(options.output) << ", values "
           << static_cast<int>(options.values) << ", weight zero points " << options.weight_zero_points;
  }

  void check_all_options(const ConvShape& shape) {
    for (const ConvOutput output : {ConvOutput::u8, ConvOutput::f32, ConvOutput::s32})
      for (const bool weight_zero_points : {false, true})
        for (const Values values : {Values::uniform, Values::extremes, Values::least_weights})
          check(shape, {.output = output,
                        .values = values,
                        .weight_zero_points = weight_zero_points,
                        .narrow_limits = (checked_ & 1) != 0,
                        .large_scales = checked_ % 5 == 4,
                        .bias = checked_ % 4 < 2,
                        .row_scale = checked_ % 7 < 3,
                        .guard_start = (checked_ & 2) != 0});
  }

  ConvShape random_shape(std::mt19937_64& random) {
    const auto pick = [&](std::initializer_list<std::int64_t> choices) {
      return *(choices.begin() + random() % choices.size());
    };
    for (;;) {
      ConvSize z;
      z.groups = pick({1, 1, 1, 2, 3, 8});
      z.n = pick({1, 1, 2, 3});
      z.h = pick({1, 2, 3, 5, 7, 8, 14, 17});
      z.w = pick({1, 2, 3, 5, 7, 9, 14, 16, 31});
      z.c = z.groups * pick({1, 2, 3, 4, 5, 8, 12, 16, 24, 31, 33, 40, 64, 65});
      z.o = z.groups * pick({1, 2, 7, 8, 10, 15, 16, 17, 24, 32, 33, 40, 48, 70});
      z.kh = pick({1, 2, 3, 5, 7}), z.kw = pick({1, 2, 3, 5, 7});
      z.stride_h = pick({1, 1, 2, 3}), z.stride_w = pick({1, 1, 2, 3});
      z.dilation_h = pick({1, 1, 2, 3}), z.dilation_w = pick({1, 1, 2, 3});
      z.pad_top = pick({0, 1, 2, 3, 6}), z.pad_left = pick({0, 1, 2, 3, 6});
      z.pad_bottom = pick({0, 1, 2, 3}), z.pad_right = pick({0, 1, 2, 3});
      if (random() % 4 == 0) {  // depthwise
        z.groups = z.o = z.c = pick({1, 3, 8, 16, 24, 31, 32, 33, 48, 63, 64, 65, 96, 100, 144});
        if (random() % 4 == 0) z.o *= 2;
      }
      if (z.h + z.pad_top + z.pad_bottom < (z.kh - 1) * z.dilation_h + 1) continue;
      if (z.w + z.pad_left + z.pad_right < (z.kw - 1) * z.dilation_w + 1) continue;
      ConvShape shape = make_shape(z);
      if (shape.oh * shape.ow * shape.o * shape.kh * shape.kw * z.c / z.groups > 2'000'000) continue;
      if (random() % 2) shape.src_stride += pick({1, 3, 16, 64});
      if (random() % 2) shape.dst_stride += pick({1, 3, 16, 64});
      return shape;
    }
  }

  int checked_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Kernels, ConvQ8, testing::ValuesIn([] {
                           std::vector<const ConvKernel*> kernels;
                           for (const ConvKernel& kernel : conv_q8_kernels())
                             if (&kernel != &conv_q8_kernels().back()) kernels.push_back(&kernel);
                           return kernels;
                         }()),
                         [](const auto& param) { return std::string(param.param->name); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ConvQ8);

TEST_P(ConvQ8, MatrixProductsOfAllSmallSizes) {
  for (std::int64_t m = 1; m <= 17; ++m)
    for (std::int64_t k = 1; k <= 10; ++k)
      for (std::int64_t n = 1; n <= 10; ++n) check(matrix_product(m, k, n), {.guard_start = (k & 1) != 0});
}

TEST_P(ConvQ8, MatrixProductsAroundTheTiles) {
  for (const std::int64_t m : {1, 2, 5, 6, 7, 13, 14, 15, 16, 27, 28, 29, 31, 32, 33, 49, 63, 64, 65, 100})
    for (const std::int64_t k : {1, 3, 4, 15, 16, 17, 24, 63, 64, 65, 127, 128, 129})
      for (const std::int64_t n : {1, 8, 15, 16, 17, 24, 31, 32, 33, 40, 63, 64, 65, 144}) check(matrix_product(m, k, n));
}

TEST_P(ConvQ8, MatricesMadeAtRunTime) {
  const ConvKernel& kernel = *GetParam();
  if (kernel.pack_matrix == nullptr) return;  // for depthwise convolutions
  for (const std::int64_t m : {1, 5, 12, 33})
    for (const std::int64_t k : {1, 2, 3, 4, 7, 8, 9, 63, 64, 65, 130})
      for (const std::int64_t n : {1, 8, 15, 16, 17, 31, 32, 33, 64, 70})
        for (const bool zero_point : {false, true}) {
          const ConvShape shape = matrix_product(m, k, n);
          if (!kernel.supports(shape)) continue;
          ConvProblem problem(shape, {.one_weight_zero_point = zero_point}, seed() + static_cast<std::uint64_t>(m * k * n));
          const auto expected = problem.result(reference(), 1);
          EXPECT_EQ(problem.result(kernel, 1, true), expected) << describe(shape) << ", zero point " << zero_point;
        }
}

TEST_P(ConvQ8, DeepNarrowAndVectorProducts) {
  for (const auto& [m, k, n] : {std::tuple{1, 1280, 1000},
                                {1, 32767, 1},
                                {1, 4096, 33},
                                {2, 8193, 17},
                                {300, 1, 1},
                                {1, 1, 3000},
                                {40, 4097, 3},
                                {3, 2048, 1001},
                                {64, 640, 96},
                                {33, 1030, 130}})
    for (const Values values : {Values::uniform, Values::extremes, Values::least_weights})
      check(matrix_product(m, k, n), {.values = values});
}

// Where kernels compute in floats, 2^23 and 2^24 are the sums from which integers are no longer exact.
TEST_P(ConvQ8, SumsAroundTheLimitsOfFloats) {
  for (const ConvOutput output : {ConvOutput::u8, ConvOutput::f32})
    for (const std::int64_t k : {200, 255, 258, 259, 260, 261, 262, 265, 270, 280, 400, 517, 518, 519, 520, 524, 530, 1100})
      check(matrix_product(20, k, 20), {.output = output, .values = Values::largest_sums, .zero_point_0 = true});
  check(make_shape({.h = 20, .w = 20, .c = 40, .o = 40, .kh = 17, .kw = 17, .groups = 40}),
        {.values = Values::largest_sums, .zero_point_0 = true});
}

TEST_P(ConvQ8, ConvolutionsOfAllKinds) {
  std::mt19937_64 random(seed());
  for (int i = 0; i < 400 && !HasFailure(); ++i) {
    const ConvShape shape = random_shape(random);
    check(shape, {.output = static_cast<ConvOutput>(i % 3 == 0 ? i / 3 % 3 : 0),
                  .values = static_cast<Values>(i % 4),
                  .weight_zero_points = i % 5 == 0,
                  .narrow_limits = i % 2 == 0,
                  .large_scales = i % 7 == 0,
                  .negative_scales = i % 11 == 0,
                  .guard_start = i % 3 == 0});
  }
}

TEST_P(ConvQ8, EveryOptionOfTheEpilogue) {
  check_all_options(make_shape({.n = 2,
                                .h = 6,
                                .w = 5,
                                .c = 20,
                                .o = 50,
                                .kh = 3,
                                .kw = 3,
                                .pad_top = 1,
                                .pad_left = 1,
                                .pad_bottom = 1,
                                .pad_right = 1}));
  check_all_options(make_shape({.h = 9,
                                .w = 8,
                                .c = 80,
                                .o = 80,
                                .kh = 3,
                                .kw = 3,
                                .stride_h = 2,
                                .stride_w = 2,
                                .pad_top = 1,
                                .pad_left = 1,
                                .pad_bottom = 1,
                                .pad_right = 1,
                                .groups = 80}));
  check_all_options(make_shape({.h = 5, .w = 11, .c = 12, .o = 36, .kh = 3, .kw = 1, .groups = 3}));
  check_all_options(matrix_product(3, 70, 45));
  check_all_options(matrix_product(1, 70, 45));
}

TEST_P(ConvQ8, DepthwiseOfAllKernelsAndStrides) {
  for (const std::int64_t k : {1, 2, 3, 4, 5, 7})
    for (const std::int64_t stride : {1, 2, 3})
      for (const std::int64_t dilation : {1, 2})
        for (const std::int64_t c : {1, 8, 16, 31, 32, 33, 63, 64, 65, 96, 144, 200})
          for (const std::int64_t w : {1, 2, 4, 7, 10, 23}) {
            const std::int64_t pad = (k - 1) * dilation / 2, h = w % 5 + 3;
            if (h + 2 * pad < (k - 1) * dilation + 1 || w + 2 * pad < (k - 1) * dilation + 1) continue;
            check(make_shape({.h = h,
                              .w = w,
                              .c = c,
                              .o = c,
                              .kh = k,
                              .kw = k,
                              .stride_h = stride,
                              .stride_w = stride,
                              .dilation_h = dilation,
                              .dilation_w = dilation,
                              .pad_top = pad,
                              .pad_left = pad,
                              .pad_bottom = pad,
                              .pad_right = pad,
                              .groups = c}));
          }
}

TEST_P(ConvQ8, LayersOfRealNetworks) {
  const auto same = [](std::int64_t h, std::int64_t c, std::int64_t o, std::int64_t k, std::int64_t stride,
                       std::int64_t groups) {
    return make_shape({.h = h,
                       .w = h,
                       .c = c,
                       .o = o,
                       .kh = k,
                       .kw = k,
                       .stride_h = stride,
                       .stride_w = stride,
                       .pad_top = k / 2,
                       .pad_left = k / 2,
                       .pad_bottom = k / 2,
                       .pad_right = k / 2,
                       .groups = groups});
  };
  const ConvOptions options{.values = Values::bell};
  check(same(40, 3, 32, 3, 2, 1), options);
  check(same(40, 3, 64, 7, 2, 1), options);
  check(same(28, 1, 16, 3, 1, 1), options);
  check(same(28, 16, 96, 1, 1, 1), options);
  check(same(40, 24, 40, 1, 1, 1), options);
  check(same(38, 72, 40, 1, 2, 1), options);
  check(same(14, 64, 64, 3, 1, 1), options);
  check(same(14, 64, 128, 3, 2, 1), options);
  check(same(7, 512, 70, 3, 1, 1), options);
  check(same(7, 1152, 192, 1, 1, 1), options);
  check(same(14, 256, 128, 1, 2, 1), options);
  check(same(14, 480, 480, 5, 1, 480), options);
  check(same(14, 672, 672, 5, 2, 672), options);
  check(same(28, 144, 144, 3, 2, 144), options);
  check(same(7, 960, 960, 3, 1, 960), options);
  check(same(14, 128, 128, 3, 1, 32), options);
}

// Where kernels copy parts of the picture: lines that are too wide for a part, many parts, many images in one.
TEST_P(ConvQ8, PicturesOfAllProportions) {
  for (const std::int64_t kernel : {1, 3, 4})
    for (const std::int64_t stride : {1, 2, 3})
      for (const std::int64_t groups : {1, 2}) {
        if (groups == 2 && (kernel != 3 || stride != 2)) continue;
        const auto picture = [&](std::int64_t n, std::int64_t h, std::int64_t w, std::int64_t c) {
          const std::int64_t rows = h < kernel ? 1 : kernel, pad_h = h < kernel ? 0 : kernel / 2;
          return make_shape({.n = n,
                             .h = h,
                             .w = w,
                             .c = c * groups,
                             .o = groups == 1 ? 3 : 32,
                             .kh = rows,
                             .kw = kernel,
                             .stride_h = stride,
                             .stride_w = stride,
                             .pad_top = pad_h,
                             .pad_left = kernel / 2,
                             .pad_bottom = (kernel - 1) / 2,
                             .pad_right = (kernel - 1) / 2,
                             .groups = groups});
        };
        check(picture(1, 1, 9000, 64));
        check(picture(2, 1, 3100, 128));
        check(picture(1, 3, 3000, 72));
        check(picture(1, 150, 90, 48));
        check(picture(40, 4, 3, 16));
        check(picture(9, 2, 5, 64));
      }
}

TEST_P(ConvQ8, WorkersOnThreadsOfTheirOwn) {
  ConvShape shape = make_shape({.h = 15,
                                .w = 13,
                                .c = 32,
                                .o = 32,
                                .kh = 3,
                                .kw = 3,
                                .pad_top = 1,
                                .pad_left = 1,
                                .pad_bottom = 1,
                                .pad_right = 1,
                                .groups = GetParam()->name.starts_with("depthwise") ? 32 : 1});
  if (!GetParam()->supports(shape)) shape = matrix_product(1, 70, 200);
  ASSERT_TRUE(GetParam()->supports(shape));
  ConvProblem problem(shape, {}, seed());
  const auto expected = problem.result(reference(), 1);
  problem.prepare(*GetParam(), 3);
  std::vector<std::thread> threads;
  for (int worker = 0; worker < 3; ++worker) threads.emplace_back([&, worker] { problem.run(worker, 3); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(problem.output(), expected);
}

TEST(ConvQ8Reference, SmallCaseByHand) {
  // x = [1 2; 3 4], one 2x2 kernel of weights [1 -1; 2 3] with zero point 1: 1*0 - 2*2 + 3*1 + 4*2 = 7.
  const ConvShape shape = make_shape({.h = 2, .w = 2, .c = 1, .o = 1, .kh = 2, .kw = 2});
  const std::uint8_t x[] = {1, 2, 3, 4};
  const std::int8_t w[] = {1, -1, 2, 3};
  const std::int32_t weight_zero_point = 1, bias = 10, x_zero_point = 2;
  std::int32_t comp = 0;
  ASSERT_TRUE(fold_bias(shape, w, &weight_zero_point, x_zero_point, &bias, &comp));
  EXPECT_EQ(comp, 10 - 2 * 5 + 4 * 2 * 1);  // sum((x - 2) * (w - 1)) = 7 - 2 * (5 - 4) = 5, so 15 in all
  const AlignedBuffer packed = allocate_aligned(reference().packed_bytes(shape));
  reference().pack(shape, w, &weight_zero_point, packed.get());
  std::int32_t total = 0;
  ConvArgs args{.src = x, .packed = packed.get(), .dst = &total, .comp = &comp, .src_zero_point = 2, .output = ConvOutput::s32};
  reference().run(shape, args, 0, 1);
  EXPECT_EQ(total, 15);

  const float scale = 0.5F;  // 15 * 0.5 = 7.5 rounds to 8
  std::uint8_t q = 0;
  args.dst = &q, args.scale = &scale, args.output = ConvOutput::u8, args.low = -100, args.high = 155, args.dst_zero_point = 100;
  reference().run(shape, args, 0, 1);
  EXPECT_EQ(q, 108);
  args.high = 6;
  reference().run(shape, args, 0, 1);
  EXPECT_EQ(q, 106);
  float y = 0;
  args.dst = &y, args.output = ConvOutput::f32, args.low = 0, args.high = std::numeric_limits<float>::infinity();
  reference().run(shape, args, 0, 1);
  EXPECT_EQ(y, 7.5F);
}

TEST(ConvQ8FoldBias, RefusesWhatDoesNotFit) {
  const ConvShape shape = matrix_product(1, 4, 1);
  const std::int8_t w[] = {1, 1, 1, 1};
  std::int32_t comp = 0;
  const auto folds = [&](std::int32_t bias) { return fold_bias(shape, w, nullptr, 0, &bias, &comp); };
  constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max(), kLeast = std::numeric_limits<std::int32_t>::min();
  EXPECT_TRUE(folds(kMost - 4 * 255));
  EXPECT_FALSE(folds(kMost - 4 * 255 + 1));  // fits itself, but not with inputs of 255
  EXPECT_TRUE(folds(kLeast));
  EXPECT_TRUE(fold_bias(shape, w, nullptr, 255, nullptr, &comp));
  EXPECT_EQ(comp, -4 * 255);
  const std::int32_t bias = kLeast;
  EXPECT_FALSE(fold_bias(shape, w, nullptr, 255, &bias, &comp));
}

TEST(ConvQ8TransposeWeights, TurnsColumnsIntoRows) {
  const std::int8_t kn[] = {1, 2, 3, 4, 5, 6};
  std::int8_t nk[6];
  transpose_weights(2, 3, kn, nk);
  EXPECT_THAT(nk, testing::ElementsAre(1, 4, 2, 5, 3, 6));
}

TEST(ConvQ8Select, TakesTheFirstThatFitsAndNeverNothing) {
  std::string covered;
  for (const ConvKernel& kernel : conv_q8_kernels()) {
    const IsaSet isas = implied_isas(kernel.needs);
    if (detected_isas().contains(kernel.needs)) covered += fmt::format("  {}\n", kernel.name);
    const ConvShape dense = matrix_product(100, 64, 64);
    const ConvKernel* chosen = select_conv_q8(dense, isas);
    ASSERT_NE(chosen, nullptr);
    EXPECT_TRUE(isas.contains(chosen->needs) && chosen->supports(dense)) << chosen->name;
  }
  std::cout << "kernels compared with the reference on this machine (" << to_string(detected_isas()) << "):\n" << covered;
  EXPECT_EQ(select_conv_q8(matrix_product(1, 1, 1), IsaSet{})->name, "conv_u8s8s32_reference");
#if defined(__x86_64__)
  EXPECT_EQ(select_conv_q8(matrix_product(1, 1280, 1000), implied_isas(Isa::avx512vnni))->name,
            "conv_u8s8s32_14x32x4_avx512vnni");
#endif
}

}  // namespace
}  // namespace zeropoint::kernels
