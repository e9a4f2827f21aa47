#include "kernels/layout/layout.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace zeropoint::kernels {
namespace {

constexpr std::uint32_t kSeed = 20240616;
constexpr std::size_t kGuard = 64;
using Bytes = std::vector<std::uint8_t>;

Bytes random_bytes(std::int64_t count, std::mt19937& random) {
  Bytes bytes(static_cast<std::size_t>(count));
  for (auto& b : bytes) b = static_cast<std::uint8_t>(random());
  return bytes;
}

class LayoutEntry : public testing::TestWithParam<const LayoutKernels*> {
 protected:
  void SetUp() override {
    if (!detected_isas().contains(GetParam()->needs)) GTEST_SKIP() << "this machine has no " << name(GetParam()->needs);
  }
  const LayoutFunctions& fast() const { return *GetParam()->functions; }
  std::mt19937 random_{kSeed};
};

TEST_P(LayoutEntry, Transpose) {
  for (const int bytes : {1, 2, 4, 8})
    for (const std::int64_t rows : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 33, 130})
      for (const std::int64_t columns : {1, 3, 4, 5, 8, 15, 16, 17, 49, 64, 65, 200})
        for (const std::int64_t gap : {0, 5}) {
          TransposeShape s = dense_transpose(2, rows, columns, bytes);
          s.src_row_stride += gap;
          s.dst_row_stride += 2 * gap;
          s.src_batch_stride = rows * s.src_row_stride + gap;
          s.dst_batch_stride = columns * s.dst_row_stride;
          const Bytes src = random_bytes(s.batch * s.src_batch_stride * bytes, random_);
          Bytes expected(static_cast<std::size_t>(s.batch * s.dst_batch_stride * bytes) + kGuard, 77);
          const Bytes untouched = expected;
          layout_reference.transpose(s, src.data(), expected.data(), 0, 1);
          for (const int workers : {1, 3}) {
            Bytes actual = untouched;
            for (int worker = 0; worker < workers; ++worker) fast().transpose(s, src.data(), actual.data(), worker, workers);
            ASSERT_EQ(actual, expected) << rows << "x" << columns << " of " << bytes << " bytes, gap " << gap << ", workers "
                                        << workers << ", seed " << kSeed;
          }
        }
}

TEST_P(LayoutEntry, Permutations) {
  const std::vector<std::vector<std::int64_t>> shapes = {{},           {5},           {3, 4},         {2, 3, 17},
                                                         {2, 3, 5, 7}, {2, 17, 4, 9}, {1, 3, 16, 16}, {2, 1, 3, 2, 4}};
  for (const auto& dims : shapes) {
    std::vector<std::int64_t> perm(dims.size());
    std::iota(perm.begin(), perm.end(), 0);
    do {
      for (const int bytes : {1, 2, 4, 8}) {
        const StridedCopy copy = permutation(dims, perm, bytes);
        const std::int64_t count = std::accumulate(dims.begin(), dims.end(), std::int64_t{1}, std::multiplies<>());
        const Bytes src = random_bytes(count * bytes, random_);
        Bytes expected(src.size() + kGuard, 77);
        const Bytes untouched = expected;
        layout_reference.strided_copy(copy, src.data(), expected.data(), 0, 1);
        for (const int workers : {1, 4}) {
          Bytes actual = untouched;
          for (int worker = 0; worker < workers; ++worker)
            fast().strided_copy(copy, src.data(), actual.data(), worker, workers);
          ASSERT_EQ(actual, expected) << "rank " << dims.size() << ", " << bytes << " bytes, seed " << kSeed;
        }
      }
    } while (std::next_permutation(perm.begin(), perm.end()));
  }
}

// Expand (stride 0), a slice with steps, and writing into a part of a larger tensor.
TEST_P(LayoutEntry, StridedViews) {
  StridedCopy expand{.rank = 3, .dims = {4, 5, 6}, .src_strides = {0, 1, 0}, .dst_strides = {30, 6, 1}};
  StridedCopy slice{.rank = 2, .dims = {7, 9}, .src_strides = {40, 3}, .dst_strides = {9, 1}};
  StridedCopy concat{.rank = 2, .dims = {8, 12}, .src_strides = {12, 1}, .dst_strides = {20, 1}};
  for (StridedCopy copy : {expand, slice, concat})
    for (const int bytes : {1, 2, 4, 8}) {
      copy.element_bytes = bytes;
      const Bytes src = random_bytes(400 * bytes, random_);
      Bytes actual(static_cast<std::size_t>(200 * bytes), 77), expected = actual;
      for (int worker = 0; worker < 3; ++worker) fast().strided_copy(copy, src.data(), actual.data(), worker, 3);
      layout_reference.strided_copy(copy, src.data(), expected.data(), 0, 1);
      ASSERT_EQ(actual, expected) << kSeed;
    }
}

std::vector<const LayoutKernels*> entries() {
  std::vector<const LayoutKernels*> list;
  for (const LayoutKernels& kernel : layout_kernels()) list.push_back(&kernel);
  return list;
}
INSTANTIATE_TEST_SUITE_P(Table, LayoutEntry, testing::ValuesIn(entries()),
                         [](const auto& instance) { return std::string(instance.param->name); });

TEST(LayoutSelect, FollowsTheMask) {
  EXPECT_STREQ(select_layout(IsaSet()).name, "layout_reference");
  for (const LayoutKernels& kernel : layout_kernels())
    EXPECT_STREQ(select_layout(implied_isas(kernel.needs)).name, kernel.name);
}

TEST(LayoutReference, HandMade) {
  const std::uint8_t src[] = {1, 2, 3, 4, 5, 6};
  std::uint8_t dst[6];
  layout_reference.transpose(dense_transpose(1, 2, 3, 1), src, dst, 0, 1);
  EXPECT_EQ(std::vector<std::uint8_t>(dst, dst + 6), (std::vector<std::uint8_t>{1, 4, 2, 5, 3, 6}));
  const std::int64_t dims[] = {1, 2, 3}, perm[] = {2, 0, 1};  // dst[c][0][r] = src[0][r][c]
  layout_reference.strided_copy(permutation(dims, perm, 1), src, dst, 0, 1);
  EXPECT_EQ(std::vector<std::uint8_t>(dst, dst + 6), (std::vector<std::uint8_t>{1, 4, 2, 5, 3, 6}));
}

TEST(Permutation, MergesNeighbours) {
  const std::int64_t dims[] = {2, 8, 4, 5}, to_nhwc[] = {0, 2, 3, 1}, same[] = {0, 1, 2, 3};
  const StridedCopy nhwc = permutation(dims, to_nhwc, 4);
  ASSERT_EQ(nhwc.rank, 3);  // batch, pixels, channels
  EXPECT_EQ(nhwc.dims[1], 20);
  EXPECT_EQ(nhwc.src_strides[1], 1);
  EXPECT_EQ(nhwc.dims[2], 8);
  EXPECT_EQ(permutation(dims, same, 4).rank, 1);
}

}  // namespace
}  // namespace zeropoint::kernels
