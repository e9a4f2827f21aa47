#include "kernels/typed_elementwise/typed_elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace zeropoint::kernels {
namespace {

TypedShape flat(std::int64_t count) {
  TypedShape shape{.rank = 1, .dims = {count}};
  for (auto& strides : shape.strides) strides[0] = 1;
  return shape;
}

TEST(TypedElementwise, IntegersWrapAround) {
  const std::int64_t a[] = {5, std::numeric_limits<std::int64_t>::max(), -3}, b[] = {7, 1, 4};
  const void* operands[] = {a, b};
  std::int64_t y[3];
  typed_binary(TypedOp::add, Element::s64)(flat(3), operands, y, 0, 3);
  EXPECT_EQ(std::vector<std::int64_t>(y, y + 3), (std::vector<std::int64_t>{12, std::numeric_limits<std::int64_t>::min(), 1}));
  typed_binary(TypedOp::min, Element::s64)(flat(3), operands, y, 1, 3);
  EXPECT_EQ(y[2], -3);
  EXPECT_EQ(y[0], 12);  // outside of the part
}

TEST(TypedElementwise, ComparesAndChoosesThroughStrides) {
  // rows >= columns of a 3x4 grid: a causal mask
  const std::int32_t row[] = {0, 1, 2}, column[] = {0, 1, 2, 3};
  TypedShape shape{.rank = 2, .dims = {3, 4}};
  shape.strides[0][0] = 1;
  shape.strides[1][1] = 1;
  const void* operands[] = {row, column};
  bool mask[12];
  typed_binary(TypedOp::greater_or_equal, Element::s32)(shape, operands, mask, 0, 7);
  typed_binary(TypedOp::greater_or_equal, Element::s32)(shape, operands, mask, 7, 12);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(mask[i], i / 4 >= i % 4) << i;

  const float zero = 0, low = -INFINITY;
  TypedShape choose = flat(12);
  choose.strides[1][0] = choose.strides[2][0] = 0;
  const void* three[] = {mask, &zero, &low};
  float y[12];
  typed_where(4)(choose, three, y, 0, 12);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(y[i], mask[i] ? 0 : low) << i;
}

TEST(TypedElementwise, CastsSaturateAndCut) {
  const float x[] = {1.9F, -1.9F, 3e9F, -3e9F, NAN, 0};
  const void* operands[] = {x};
  std::int32_t y[6];
  typed_cast(Element::f32, Element::s32)(flat(6), operands, y, 0, 6);
  EXPECT_EQ(std::vector<std::int32_t>(y, y + 6), (std::vector<std::int32_t>{1, -1, INT32_MAX, INT32_MIN, 0, 0}));
  bool b[6];
  typed_cast(Element::f32, Element::b8)(flat(6), operands, b, 0, 6);
  EXPECT_EQ(std::vector<bool>(b, b + 6), (std::vector<bool>{true, true, true, true, true, false}));
}

TEST(TypedElementwise, WhatIsNotOffered) {
  EXPECT_EQ(typed_binary(TypedOp::logical_and, Element::f32), nullptr);
  EXPECT_EQ(typed_binary(TypedOp::power, Element::s64), nullptr);
  EXPECT_EQ(typed_where(2), nullptr);
}

}  // namespace
}  // namespace zeropoint::kernels
