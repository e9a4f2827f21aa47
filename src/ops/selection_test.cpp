// Operators that move and select, worked by hand.
#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "ops/test_nodes.h"

namespace zeropoint::ops {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::HasSubstr;
using Longs = std::vector<std::int64_t>;
using Floats = std::vector<float>;

Tensor f32(Dims dims, const Floats& numbers) { return Tensor::of<float>(std::move(dims), numbers); }
Tensor s64(Dims dims, const Longs& numbers) { return Tensor::of<std::int64_t>(std::move(dims), numbers); }

// ---- places of extreme values

TEST(ArgMax, TiesAndNan) {
  const Tensor x = f32({2, 3}, {1, 3, 3, NAN, 9, NAN});
  EXPECT_EQ(values<std::int64_t>(run_node("ArgMax(x) {axis=1}", {{"x", x}})), (Longs{1, 0}));
  EXPECT_EQ(values<std::int64_t>(run_node("ArgMax(x) {axis=1, select_last_index=1}", {{"x", x}})), (Longs{2, 2}));
  EXPECT_EQ(values<std::int64_t>(run_node("ArgMin(x) {axis=-1}", {{"x", x}})), (Longs{0, 0}));
  EXPECT_EQ(run_node("ArgMin(x) {axis=0, keepdims=0}", {{"x", x}}).dims(), (Dims{3}));
  EXPECT_EQ(run_node("ArgMax(x)", {{"x", x}}).dims(), (Dims{1, 3}));
  const Tensor extreme = list<std::uint64_t>({1, UINT64_MAX, UINT64_MAX - 1});
  EXPECT_EQ(values<std::int64_t>(run_node("ArgMax(x)", {{"x", extreme}})), (Longs{1}));
  EXPECT_THAT(refusal([] { run_node("ArgMax(x)", {{"x", Tensor(DType::f32, {0})}}); }, ErrorCode::kBadShape),
              HasSubstr("no elements"));
}

TEST(TopK, OrdersByValueThenIndex) {
  const Tensor x = f32({1, 5}, {2, 7, 7, NAN, -1});
  const auto largest = run_all("TopK(x, k)", {{"x", x}, {"k", list<std::int64_t>({3})}}, 11, 2);
  EXPECT_THAT(values<float>(largest[0]), ElementsAre(testing::IsNan(), 7, 7));
  EXPECT_EQ(values<std::int64_t>(largest[1]), (Longs{3, 1, 2}));
  const auto smallest = run_all("TopK(x, k) {largest=0}", {{"x", x}, {"k", list<std::int64_t>({2})}}, 11, 2);
  EXPECT_THAT(values<float>(smallest[0]), ElementsAre(-1, 2));
  EXPECT_EQ(run_all("TopK(x) {k=2, axis=1}", {{"x", x}}, 7, 2)[0].dims(), (Dims{1, 2}));  // opset 1's form
  const Tensor rows = Tensor::of<std::int32_t>({3, 2}, std::vector<std::int32_t>{1, 6, 5, 2, 3, 4});
  const auto first = run_all("TopK(x, k) {axis=0}", {{"x", rows}, {"k", list<std::int64_t>({1})}}, 11, 2);
  EXPECT_EQ(values<std::int32_t>(first[0]), (std::vector<std::int32_t>{5, 6}));
  EXPECT_EQ(values<std::int64_t>(first[1]), (Longs{1, 0}));
  EXPECT_THAT(refusal([&] { run_all("TopK(x, k)", {{"x", x}, {"k", list<std::int64_t>({6})}}, 11, 2); }, ErrorCode::kBadShape),
              HasSubstr("first 6 of 5"));
  EXPECT_EQ(run_all("TopK(x, k)", {{"x", x}, {"k", list<std::int64_t>({0})}}, 11, 2)[0].dims(), (Dims{1, 0}));
}

// ---- gather and scatter

TEST(GatherElements, TakesNegativeIndicesAndFewerRows) {
  const Tensor x = f32({3, 2}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(values<float>(run_node("GatherElements(x, i)", {{"x", x}, {"i", s64({2, 2}, {2, -3, -1, 1})}})),
              ElementsAre(5, 2, 5, 4));
  EXPECT_THAT(values<float>(run_node("GatherElements(x, i) {axis=1}", {{"x", x}, {"i", s64({1, 3}, {0, 1, -1})}})),
              ElementsAre(1, 2, 2));
  EXPECT_THAT(refusal([&] { run_node("GatherElements(x, i)", {{"x", x}, {"i", s64({1, 2}, {3, 0})}}); }, ErrorCode::kBadShape),
              HasSubstr("index 3"));
  EXPECT_THAT(
      refusal([&] { run_node("GatherElements(x, i)", {{"x", x}, {"i", s64({1, 3}, {0, 0, 0})}}); }, ErrorCode::kBadShape),
      HasSubstr("do not lie within"));
}

TEST(GatherNd, SlicesElementsAndBatches) {
  const Tensor x = f32({2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_THAT(values<float>(run_node("GatherND(x, i)", {{"x", x}, {"i", s64({2, 2}, {0, 1, -1, 0})}})),
              ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(values<float>(run_node("GatherND(x, i) {batch_dims=1}", {{"x", x}, {"i", s64({2, 1}, {1, 0})}})),
              ElementsAre(2, 3, 4, 5));
  EXPECT_THAT(values<float>(run_node("GatherND(x, i)", {{"x", x}, {"i", s64({1, 3}, {1, 1, 1})}})), ElementsAre(7));
  EXPECT_THAT(refusal([&] { run_node("GatherND(x, i)", {{"x", x}, {"i", s64({1, 4}, {0, 0, 0, 0})}}); }, ErrorCode::kBadShape),
              HasSubstr("4 axes"));
  EXPECT_THAT(refusal([&] { run_node("GatherND(x, i)", {{"x", x}, {"i", s64({1, 1}, {-3})}}); }, ErrorCode::kBadShape),
              HasSubstr("index -3"));
}

TEST(Scatter, ReductionsAndTheLastOfTwins) {
  const Tensor x = f32({4}, {1, 2, 3, 4}), twice = s64({3}, {1, -3, 3}), updates = f32({3}, {10, 20, -1});
  const Feeds feeds = {{"x", x}, {"i", twice}, {"u", updates}};
  EXPECT_THAT(values<float>(run_node("ScatterElements(x, i, u)", feeds)), ElementsAre(1, 20, 3, -1));
  EXPECT_THAT(values<float>(run_node("Scatter(x, i, u)", feeds, 10)), ElementsAre(1, 20, 3, -1));
  EXPECT_THAT(values<float>(run_node("ScatterElements(x, i, u) {reduction=\"add\"}", feeds)), ElementsAre(1, 32, 3, 3));
  EXPECT_THAT(values<float>(run_node("ScatterElements(x, i, u) {reduction=\"mul\"}", feeds)), ElementsAre(1, 400, 3, -4));
  EXPECT_THAT(values<float>(run_node("ScatterElements(x, i, u) {reduction=\"max\"}", feeds)), ElementsAre(1, 20, 3, 4));
  EXPECT_THAT(values<float>(run_node("ScatterElements(x, i, u) {reduction=\"min\"}", feeds)), ElementsAre(1, 2, 3, -1));
  EXPECT_THAT(refusal([&] { run_node("ScatterElements(x, i, u) {reduction=\"mean\"}", feeds); }, ErrorCode::kBadAttribute),
              HasSubstr("'mean'"));
  // Whole rows; integers wrap.
  const Tensor bytes = Tensor::of<std::uint8_t>({2, 2}, std::vector<std::uint8_t>{250, 1, 2, 3});
  const Tensor row = Tensor::of<std::uint8_t>({1, 2}, std::vector<std::uint8_t>{10, 10});
  const Feeds rows = {{"x", bytes}, {"i", s64({1, 1}, {0})}, {"u", row}};
  EXPECT_THAT(values<std::uint8_t>(run_node("ScatterND(x, i, u) {reduction=\"add\"}", rows)), ElementsAre(4, 11, 2, 3));
  EXPECT_THAT(values<std::uint8_t>(run_node("ScatterND(x, i, u)", rows)), ElementsAre(10, 10, 2, 3));
  EXPECT_THAT(refusal([&] { run_node("ScatterND(x, i, u)", {{"x", bytes}, {"i", s64({1, 1}, {2})}, {"u", row}}); },
                      ErrorCode::kBadShape),
              HasSubstr("index 2"));
}

// ---- what depends on the values

TEST(NonZero, NegativeZeroIsZeroAndNanIsNot) {
  const Tensor x = f32({2, 3}, {0, -0.0F, NAN, 5, 0, 1e-45F});
  const Tensor y = run_node("NonZero(x)", {{"x", x}});
  EXPECT_EQ(y.dims(), (Dims{2, 3}));
  EXPECT_EQ(values<std::int64_t>(y), (Longs{0, 1, 1, 2, 0, 2}));
  EXPECT_EQ(run_node("NonZero(x)", {{"x", Tensor::scalar(3.0F)}}).dims(), (Dims{0, 1}));
  EXPECT_EQ(run_node("NonZero(x)", {{"x", list<std::int8_t>({0, -128})}}).dims(), (Dims{1, 1}));
}

TEST(Compress, OfRowsAndOfAll) {
  const Tensor x = f32({3, 2}, {1, 2, 3, 4, 5, 6});
  Tensor condition(DType::b8, {3});
  condition.mutable_values<bool>()[1] = condition.mutable_values<bool>()[2] = true;
  EXPECT_THAT(values<float>(run_node("Compress(x, c) {axis=0}", {{"x", x}, {"c", condition}})), ElementsAre(3, 4, 5, 6));
  EXPECT_THAT(values<float>(run_node("Compress(x, c)", {{"x", x}, {"c", condition}})), ElementsAre(2, 3));
  EXPECT_THAT(refusal([&] { run_node("Compress(x, c) {axis=1}", {{"x", x}, {"c", condition}}); }, ErrorCode::kBadShape),
              HasSubstr("3 conditions"));
}

TEST(OneHot, WrapsNegativeIndicesAndLeavesOthersOff) {
  const Feeds feeds = {{"i", s64({4}, {0, -1, 3, -4})}, {"d", s64({}, {3})}, {"v", list<std::int32_t>({5, 9})}};
  EXPECT_THAT(values<std::int32_t>(run_node("OneHot(i, d, v)", feeds)), ElementsAre(9, 5, 5, 5, 5, 9, 5, 5, 5, 5, 5, 5));
  EXPECT_EQ(run_node("OneHot(i, d, v) {axis=0}", feeds).dims(), (Dims{3, 4}));
  Feeds huge = feeds;
  huge["d"] = s64({}, {std::int64_t{1} << 50});
  EXPECT_THAT(refusal([&] { run_node("OneHot(i, d, v)", huge); }, ErrorCode::kLimit), HasSubstr("depth"));
  huge["d"] = s64({}, {-1});
  EXPECT_THAT(refusal([&] { run_node("OneHot(i, d, v)", huge); }, ErrorCode::kBadArgument), HasSubstr("depth is -1"));
}

TEST(Trilu, FarDiagonals) {
  const Tensor x = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto with_k = [&](std::int64_t k, const char* node) {
    return values<float>(run_node(node, {{"x", x}, {"k", s64({}, {k})}}));
  };
  EXPECT_THAT(values<float>(run_node("Trilu(x)", {{"x", x}})), ElementsAre(1, 2, 3, 0, 5, 6));
  EXPECT_THAT(with_k(1, "Trilu(x, k)"), ElementsAre(0, 2, 3, 0, 0, 6));
  EXPECT_THAT(with_k(-1, "Trilu(x, k) {upper=0}"), ElementsAre(0, 0, 0, 4, 0, 0));
  EXPECT_THAT(with_k(INT64_MAX, "Trilu(x, k)"), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(with_k(INT64_MIN, "Trilu(x, k)"), ElementsAre(1, 2, 3, 4, 5, 6));
}

TEST(Unique, SortedAndAsTheyAppear) {
  const Tensor x = f32({5}, {3, 1, 3, 2, 1});
  const auto sorted = run_all("Unique(x)", {{"x", x}}, 11, 4);
  EXPECT_THAT(values<float>(sorted[0]), ElementsAre(1, 2, 3));
  EXPECT_EQ(values<std::int64_t>(sorted[1]), (Longs{1, 3, 0}));
  EXPECT_EQ(values<std::int64_t>(sorted[2]), (Longs{2, 0, 2, 1, 0}));
  EXPECT_EQ(values<std::int64_t>(sorted[3]), (Longs{2, 1, 2}));
  const auto seen = run_all("Unique(x) {sorted=0}", {{"x", x}}, 11, 4);
  EXPECT_THAT(values<float>(seen[0]), ElementsAre(3, 1, 2));
  EXPECT_EQ(values<std::int64_t>(seen[2]), (Longs{0, 1, 0, 2, 1}));
}

TEST(NonMaxSuppression, TakesTheBestOfOverlappingBoxes) {
  const Tensor boxes = f32({1, 4, 4}, {0, 0, 1, 1, 1, 1.1F, 0, 0.1F, 0, 10, 1, 11, 0, 0, 1, 1});
  const Tensor scores = f32({1, 1, 4}, {0.9F, 0.75F, 0.6F, 0.9F});
  const Tensor most = list<std::int64_t>({3}), iou = list<float>({0.5F});
  const Feeds feeds = {{"b", boxes}, {"s", scores}, {"m", most}, {"i", iou}};
  EXPECT_EQ(values<std::int64_t>(run_node("NonMaxSuppression(b, s, m, i)", feeds)), (Longs{0, 0, 0, 0, 0, 2}));
  Feeds with_threshold = feeds;
  with_threshold["t"] = list<float>({0.6F});  // the score must be above it
  EXPECT_EQ(values<std::int64_t>(run_node("NonMaxSuppression(b, s, m, i, t)", with_threshold)), (Longs{0, 0, 0}));
  EXPECT_EQ(run_node("NonMaxSuppression(b, s)", {{"b", boxes}, {"s", scores}}).dims(), (Dims{0, 3}));
  with_threshold["i"] = list<float>({1.5F});
  Feeds bad = feeds;
  bad["i"] = list<float>({1.5F});
  EXPECT_THAT(refusal([&] { run_node("NonMaxSuppression(b, s, m, i)", bad); }, ErrorCode::kBadArgument),
              HasSubstr("iou_threshold 1.5"));
}

TEST(CumSum, ExclusiveAndReverse) {
  const Tensor x = list<std::int32_t>({1, 2, INT32_MAX}), axis = Tensor::scalar<std::int64_t>(0);
  const Feeds feeds = {{"x", x}, {"a", axis}};
  EXPECT_THAT(values<std::int32_t>(run_node("CumSum(x, a)", feeds)), ElementsAre(1, 3, INT32_MIN + 2));
  EXPECT_THAT(values<std::int32_t>(run_node("CumSum(x, a) {exclusive=1}", feeds)), ElementsAre(0, 1, 3));
  EXPECT_THAT(values<std::int32_t>(run_node("CumSum(x, a) {exclusive=1, reverse=1}", feeds)),
              ElementsAre(INT32_MIN + 1, INT32_MAX, 0));
  const Tensor f = f32({2, 2}, {1, 2, 3, 4});
  EXPECT_THAT(values<float>(run_node("CumProd(x, a)", {{"x", f}, {"a", axis}}, 26)), ElementsAre(1, 2, 3, 8));
}

TEST(DepthToSpace, IsUndoneBySpaceToDepth) {
  Tensor x(DType::u8, {1, 8, 1, 2});
  for (std::size_t i = 0; i < 16; ++i) x.mutable_values<std::uint8_t>()[i] = static_cast<std::uint8_t>(i);
  const Tensor dcr = run_node("DepthToSpace(x) {blocksize=2}", {{"x", x}});
  EXPECT_EQ(dcr.dims(), (Dims{1, 2, 2, 4}));
  EXPECT_THAT(values<std::uint8_t>(dcr), ElementsAre(0, 4, 1, 5, 8, 12, 9, 13, 2, 6, 3, 7, 10, 14, 11, 15));
  EXPECT_THAT(values<std::uint8_t>(run_node("DepthToSpace(x) {blocksize=2, mode=\"CRD\"}", {{"x", x}})),
              ElementsAre(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  EXPECT_TRUE(run_node("SpaceToDepth(x) {blocksize=2}", {{"x", dcr}}) == x);
  EXPECT_THAT(refusal([&] { run_node("DepthToSpace(x) {blocksize=3}", {{"x", x}}); }, ErrorCode::kBadShape),
              HasSubstr("multiple of 9"));
  EXPECT_THAT(refusal([&] { run_node("DepthToSpace(x) {blocksize=0}", {{"x", x}}); }, ErrorCode::kBadAttribute),
              HasSubstr("blocksize is 0"));
}

// ---- small types

TEST(SmallTypes, MoveLikeOthers) {
  // 4 bits: two a byte, the first in the lower half.
  const auto s4 = [](Dims dims, std::vector<std::uint8_t> bytes) {
    Tensor tensor(DType::s4, std::move(dims));
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<std::uint8_t*>(tensor.mutable_bytes().data()));
    return tensor;
  };
  const Tensor x = s4({2, 3}, {0x21, 0x83, 0x0F});  // 1 2 3 / -8 -1 0
  EXPECT_TRUE(run_node("Transpose(x)", {{"x", x}}) == s4({3, 2}, {0x81, 0xF2, 0x03}));
  EXPECT_TRUE(run_node("Concat(x, x) {axis=1}", {{"x", x}}) == s4({2, 6}, {0x21, 0x13, 0x32, 0xF8, 0x80, 0x0F}));
  EXPECT_TRUE(run_node("Gather(x, i) {axis=1}", {{"x", x}, {"i", s64({1}, {-1})}}) == s4({2, 1}, {0x03}));
  EXPECT_TRUE(run_node("Reshape(x, s)", {{"x", x}, {"s", s64({1}, {-1})}}) == x.reshaped({6}));
  EXPECT_TRUE(run_node("Slice(x, b, e, a)", {{"x", x}, {"b", s64({1}, {1})}, {"e", s64({1}, {3})}, {"a", s64({1}, {1})}}) ==
              s4({2, 2}, {0x32, 0x0F}));
  EXPECT_TRUE(run_node("Pad(x, p)", {{"x", x}, {"p", s64({4}, {0, 1, 0, 0})}}) == s4({2, 4}, {0x10, 0x32, 0x80, 0x0F}));
  const Tensor f4 = run_node("Cast(x) {to=23}", {{"x", f32({3}, {1, -6, 0.25F})}});
  EXPECT_EQ(f4.dtype(), DType::f4e2m1);
  EXPECT_TRUE(run_node("Transpose(x)", {{"x", f4}}) == f4);
}

// ---- interpolation

TEST(GridSample, OutsideIsZeroBorderOrReflected) {
  const Tensor x = f32({1, 1, 1, 3}, {10, 20, 30});
  const Tensor grid = f32({1, 1, 4, 2}, {-1, 0, 1, 0, 1.5F, 0, NAN, 0});  // x, y of each point
  const auto sample = [&](const std::string& attributes) {
    return values<float>(run_node("GridSample(x, g) {" + attributes + "}", {{"x", x}, {"g", grid}}));
  };
  EXPECT_THAT(sample("align_corners=1"), ElementsAre(10, 30, 15, 0));
  EXPECT_THAT(sample("align_corners=1, padding_mode=\"border\""), ElementsAre(10, 30, 30, 10));
  EXPECT_THAT(sample("align_corners=1, padding_mode=\"reflection\""), ElementsAre(10, 30, 25, 10));
  EXPECT_THAT(sample("mode=\"nearest\", align_corners=1"), ElementsAre(10, 30, 30, 0));  // 2.5: to even
  EXPECT_THAT(sample("align_corners=0"), ElementsAre(5, 15, 0, 0));
  EXPECT_THAT(refusal([&] { sample("mode=\"cubist\""); }, ErrorCode::kBadAttribute), HasSubstr("cubist"));
  const Tensor far = f32({1, 1, 2, 2}, {3e38F, 0, -INFINITY, 0});
  for (const char* padding : {"zeros", "border", "reflection"})
    for (const char* mode : {"nearest", "linear", "cubic"})
      for (const float value :
           values<float>(run_node("GridSample(x, g) {mode=\"" + std::string(mode) + "\", padding_mode=\"" + padding + "\"}",
                                  {{"x", x}, {"g", far}})))
        EXPECT_TRUE(std::isfinite(value)) << mode << padding;
}

TEST(Resize, CubicOfAStraightLineIsTheLine) {
  const Tensor x = f32({1, 6}, {0, 1, 2, 3, 4, 5});
  const Tensor y = run_node(
      "Resize(x, \"\", \"\", s) {mode=\"cubic\", coordinate_transformation_mode=\"align_corners\", cubic_coeff_a=-0.5}",
      {{"x", x}, {"s", s64({2}, {1, 11})}});
  for (std::int64_t i = 2; i < 9; ++i)
    EXPECT_NEAR(values<float>(y)[static_cast<std::size_t>(i)], static_cast<float>(i) / 2, 1e-5);
}

TEST(Resize, IntegersRoundAndSaturate) {
  const Tensor x = Tensor::of<std::uint8_t>({1, 2}, std::vector<std::uint8_t>{0, 255}), sizes = s64({2}, {1, 4});
  EXPECT_THAT(values<std::uint8_t>(run_node("Resize(x, \"\", \"\", s) {mode=\"linear\"}", {{"x", x}, {"s", sizes}})),
              ElementsAre(0, 64, 191, 255));
  // Overshoots at the edge stay within the type.
  EXPECT_THAT(values<std::uint8_t>(run_node("Resize(x, \"\", \"\", s) {mode=\"cubic\"}", {{"x", x}, {"s", sizes}})),
              ElementsAre(0, 58, 197, 255));
}

TEST(Resize, OldFormsOfUpsample) {
  const Tensor x = f32({1, 1, 1, 2}, {1, 2});
  EXPECT_THAT(values<float>(run_node("Upsample(x) {mode=\"nearest\", scales=[1.0, 1.0, 2.0, 2.0]}", {{"x", x}}, 7)),
              ElementsAre(1, 1, 2, 2, 1, 1, 2, 2));
  EXPECT_THAT(values<float>(run_node("Upsample(x, s) {mode=\"linear\"}", {{"x", x}, {"s", f32({4}, {1, 1, 1, 2})}}, 9)),
              ElementsAre(1, 1.5F, 2, 2));
}

TEST(Sizes, ThatNoMachineHoldsAreRefused) {
  const Tensor x = f32({1, 1}, {1}), sizes = s64({2}, {1LL << 40, 1LL << 40});
  EXPECT_THAT(refusal([&] { run_node("Resize(x, \"\", \"\", s)", {{"x", x}, {"s", sizes}}); }, ErrorCode::kLimit),
              HasSubstr("too many elements"));
  const Tensor large = s64({2}, {1LL << 21, 1LL << 21});
  EXPECT_THAT(refusal([&] { run_node("Expand(x, s)", {{"x", x}, {"s", large}}); }, ErrorCode::kLimit), HasSubstr("memory"));
}

}  // namespace
}  // namespace zeropoint::ops
