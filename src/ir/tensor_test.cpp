#include "zeropoint/tensor.h"

#include <gmock/gmock.h>

#include <array>
#include <cstring>

#include "zeropoint/error.h"

namespace zeropoint {
namespace {

template <class Call>
ErrorCode code_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code;
  }
  return ErrorCode::kOk;
}

TEST(DType, NamesParseBack) {
  for (int i = 0; i <= static_cast<int>(DType::opaque); ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_dtype(name(dtype)), dtype);
  }
  EXPECT_EQ(parse_dtype("float"), std::nullopt);
  EXPECT_EQ(lowest(DType::s4), -8);
  EXPECT_EQ(highest(DType::s4), 7);
  EXPECT_EQ(lowest(DType::u2), 0);
  EXPECT_EQ(highest(DType::u2), 3);
  EXPECT_EQ(lowest(DType::s32), std::int64_t{-2147483648});
  EXPECT_EQ(highest(DType::u32), 4294967295);
  EXPECT_FALSE(is_integer(DType::b8));
  EXPECT_TRUE(is_integer(DType::s64) && is_integer(DType::u2));
  EXPECT_TRUE(is_float(DType::f16) && is_float(DType::f64));
  EXPECT_FALSE(is_float(DType::s64) || is_float(DType::b8));
  EXPECT_TRUE(is_float8(DType::f8e4m3fn) && is_float8(DType::f4e2m1));
  EXPECT_FALSE(is_float8(DType::u2) || is_float8(DType::f16) || is_float8(DType::opaque) || is_integer(DType::f8e8m0));
  EXPECT_EQ(bits(DType::f8e8m0), 8);
  EXPECT_EQ(bits(DType::f4e2m1), 4);
}

TEST(ElementCount, IsCheckedForOverflow) {
  EXPECT_EQ(element_count(Dims{}), 1);
  EXPECT_EQ(element_count(Dims{2, 3}), 6);
  EXPECT_EQ(element_count(Dims{2, 0, std::int64_t{1} << 60}), 0);
  EXPECT_EQ(element_count(Dims{std::int64_t{1} << 31, std::int64_t{1} << 31}), std::int64_t{1} << 62);
  EXPECT_EQ(code_of([] { element_count(Dims{std::int64_t{1} << 32, std::int64_t{1} << 31}); }), ErrorCode::kLimit);
  EXPECT_EQ(code_of([] { element_count(Dims{-1}); }), ErrorCode::kLimit);
}

TEST(Tensor, BeginsWithAlignedZeros) {
  const Tensor tensor(DType::f32, {2, 3});
  EXPECT_EQ(tensor.size(), 6);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.bytes().data()) % 64, 0U);
  EXPECT_THAT(tensor.values<float>(), testing::Each(0.0F));
  EXPECT_EQ(Tensor(DType::s4, {3}).bytes().size(), 2U);
  EXPECT_EQ(Tensor(DType::u2, {5}).bytes().size(), 2U);
  EXPECT_FALSE(Tensor().defined());
  EXPECT_EQ(Tensor::scalar(2.5F).values<float>()[0], 2.5F);
  EXPECT_EQ(Tensor::of_ints({4, 5}).values<std::int64_t>()[1], 5);
}

TEST(Tensor, CopiesNeverSeeEachOthersWrites) {
  Tensor a = Tensor::of<float>({2}, std::vector<float>{1, 2});
  Tensor b = a;
  EXPECT_EQ(a.bytes().data(), b.bytes().data());
  b.mutable_values<float>()[0] = 7;
  EXPECT_EQ(a.values<float>()[0], 1);
  EXPECT_EQ(b.values<float>()[0], 7);
  const std::byte* own = b.bytes().data();
  b.mutable_values<float>()[1] = 8;
  EXPECT_EQ(b.bytes().data(), own) << "sole owner: no second copy";
}

TEST(Tensor, BorrowsAlignedBytesAndCopiesOthers) {
  alignas(8) static const std::array<std::byte, 20> bytes = {std::byte{1}};
  const auto owner = std::make_shared<int>(0);
  const Tensor aligned = Tensor::borrow(DType::f32, {4}, std::span(bytes).first(16), owner);
  EXPECT_EQ(aligned.bytes().data(), bytes.data());
  EXPECT_EQ(owner.use_count(), 2);
  const Tensor misaligned = Tensor::borrow(DType::f32, {4}, std::span(bytes).subspan(1, 16), owner);
  EXPECT_NE(misaligned.bytes().data(), bytes.data() + 1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(misaligned.bytes().data()) % 4, 0U);
  const Tensor bytewise = Tensor::borrow(DType::u8, {4}, std::span(bytes).subspan(1, 4), owner);
  EXPECT_EQ(bytewise.bytes().data(), bytes.data() + 1);
  Tensor written = aligned;
  written.mutable_bytes()[0] = std::byte{9};
  EXPECT_EQ(bytes[0], std::byte{1});
  EXPECT_FALSE(written == aligned);
}

TEST(Tensor, RefusesSizesThatDoNotFit) {
  const std::array<std::byte, 4> bytes = {};
  EXPECT_EQ(code_of([&] { Tensor::borrow(DType::f32, {2}, bytes, nullptr); }), ErrorCode::kBadShape);
  // 2^62 elements of 4 bytes: the product of sizes wraps to 0.
  const Dims wrapping = {std::int64_t{1} << 31, std::int64_t{1} << 31};
  EXPECT_EQ(code_of([&] { Tensor::borrow(DType::f32, wrapping, {}, nullptr); }), ErrorCode::kLimit);
  EXPECT_EQ(code_of([&] { Tensor(DType::f32, wrapping); }), ErrorCode::kLimit);
  EXPECT_EQ(code_of([&] { Tensor(DType::f32, {4}).reshaped({3}); }), ErrorCode::kBadShape);
  EXPECT_EQ(code_of([&] { Tensor(DType::f32, {4}).values<double>(); }), ErrorCode::kBadType);
}

TEST(Tensor, ReshapedSharesBytes) {
  const Tensor tensor(DType::f32, {4, 6});
  const Tensor reshaped = tensor.reshaped({2, 12});
  EXPECT_EQ(reshaped.bytes().data(), tensor.bytes().data());
  EXPECT_EQ(reshaped.dims(), (Dims{2, 12}));
}

TEST(Tensor, EqualityIsOfTypeDimensionsAndBytes) {
  const auto tensor = [](float value) { return Tensor::of<float>({1}, std::vector<float>{value}); };
  EXPECT_TRUE(tensor(1) == tensor(1));
  EXPECT_FALSE(tensor(0.0F) == tensor(-0.0F));
  EXPECT_FALSE(tensor(1) == tensor(1).reshaped({1, 1}));
  EXPECT_FALSE(Tensor(DType::s8, {4}) == Tensor(DType::u8, {4}));
  EXPECT_TRUE(Tensor() == Tensor());
  EXPECT_TRUE(Tensor::opaque({2}, "ab") == Tensor::opaque({2}, "ab"));
  EXPECT_FALSE(Tensor::opaque({2}, "ab") == Tensor::opaque({2}, "ac"));
}

}  // namespace
}  // namespace zeropoint
