#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cstring>
#include <random>

#include "zeropoint/data.h"

namespace zeropoint {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string file(const std::string& name) { return std::string(ZEROPOINT_SOURCE_DIR) + "/tests/data/samples/" + name; }

template <class T>
std::vector<T> values(const Tensor& tensor) {
  const auto span = tensor.values<T>();
  return {span.begin(), span.end()};
}

std::string message_of(std::string_view bytes) {
  try {
    parse_npy(std::as_bytes(std::span(bytes)), "x.npy");
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kBadFile) << error.what();
    EXPECT_EQ(error.where, "x.npy");
    return error.what();
  }
  return "";
}

TEST(Npy, ReadsEveryTypeThatNumpyWrites) {
  const auto check = [](const std::string& code, auto zero, int first) {
    using T = decltype(zero);
    const Tensor tensor = read_npy(file("npy/" + code + ".npy"));
    EXPECT_EQ(tensor.dtype(), dtype_of<T>);
    EXPECT_EQ(tensor.dims(), (Dims{2, 3}));
    std::vector<T> expected;
    for (int i = 0; i < 6; ++i) expected.push_back(static_cast<T>(first + 7 * i));
    EXPECT_EQ(values<T>(tensor), expected) << code;
  };
  check("f4", float{}, -20);
  check("f8", double{}, -20);
  check("i1", std::int8_t{}, -20);
  check("i2", std::int16_t{}, -20);
  check("i4", std::int32_t{}, -20);
  check("i8", std::int64_t{}, -20);
  check("u1", std::uint8_t{}, 0);
  check("u2", std::uint16_t{}, 0);
  check("u4", std::uint32_t{}, 0);
  check("u8", std::uint64_t{}, 0);
  EXPECT_THAT(values<bool>(read_npy(file("npy/b1.npy"))), ElementsAre(false, true, false, true, false, true));
  const Tensor halves = read_npy(file("npy/f2.npy"));
  EXPECT_EQ(halves.values<Float16>()[0].bits, 0xCD00);  // -20
  EXPECT_EQ(halves.values<Float16>()[5].bits, 0x4B80);  // 15
}

TEST(Npy, OrderVersionAndRank) {
  std::vector<float> expected;
  for (int i = 0; i < 24; ++i) expected.push_back(static_cast<float>(i));
  for (const char* name : {"npy/fortran.npy", "npy/version2.npy", "npy/version3.npy"}) {
    const Tensor tensor = read_npy(file(name));
    EXPECT_EQ(tensor.dims(), (Dims{2, 3, 4})) << name;
    EXPECT_EQ(values<float>(tensor), expected) << name;
  }
  const Tensor scalar = read_npy(file("npy/scalar.npy"));
  EXPECT_EQ(scalar.dims(), Dims{});
  EXPECT_EQ(scalar.values<float>()[0], 2.5F);
  EXPECT_EQ(read_npy(file("npy/empty.npy")).dims(), (Dims{0, 3}));
}

TEST(Npy, RefusesWhatItDoesNotRead) {
  try {
    read_npy(file("npy/big_endian.npy"));
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("big_endian.npy"), HasSubstr("big-endian")));
  }
  EXPECT_THROW(read_npy(file("npy/strings.npy")), Error);
  EXPECT_THROW(read_npy(file("npy/none.npy")), Error);
}

TEST(Npy, WritesWhatNumpyWrites) {
  const auto bytes = [](const std::string& path) {
    std::string text;
    std::FILE* in = std::fopen(path.c_str(), "rb");
    for (int c = std::fgetc(in); c != EOF; c = std::fgetc(in)) text += static_cast<char>(c);
    std::fclose(in);
    return text;
  };
  for (const char* name : {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1", "scalar", "empty"}) {
    const std::string path = file("npy/" + std::string(name) + ".npy");
    EXPECT_EQ(serialize_npy(read_npy(path)), bytes(path)) << name;
  }
  EXPECT_THROW(serialize_npy(Tensor(DType::bf16, {2})), Error);
}

TEST(Npy, RoundTrips) {
  constexpr unsigned kSeed = 3;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (const DType dtype : {DType::f32, DType::s64, DType::u8, DType::f16}) {
    for (int rank = 0; rank < 5; ++rank) {
      Dims dims;
      for (int axis = 0; axis < rank; ++axis) dims.push_back(static_cast<std::int64_t>(random() % 5));
      Tensor tensor(dtype, dims);
      for (std::byte& b : tensor.mutable_bytes()) b = static_cast<std::byte>(random());
      const std::string file_bytes = serialize_npy(tensor);
      EXPECT_EQ(parse_npy(std::as_bytes(std::span(file_bytes))), tensor);
    }
  }
}

// A version 1 file with this header and so many zero bytes of data.
std::string with_header(const std::string& header, std::size_t data_bytes) {
  std::string text("\x93NUMPY\x01\x00", 8);
  text += static_cast<char>(header.size() & 0xFF);
  text += static_cast<char>(header.size() >> 8);
  return text + header + std::string(data_bytes, '\0');
}

TEST(Npy, HostileFiles) {
  EXPECT_EQ(message_of(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", 8)), "");
  EXPECT_EQ(message_of(with_header("{\"shape\":(),\"fortran_order\":True,\"descr\":\"|u1\"}", 1)), "");
  EXPECT_THAT(message_of(""), HasSubstr("not an .npy file"));
  EXPECT_THAT(message_of("PK\x03\x04 something else"), HasSubstr("not an .npy file"));
  EXPECT_THAT(message_of(std::string("\x93NUMPY\x04\x00\x10\x00 xxxxxxxxxxxxxxx", 20)), HasSubstr("version 4"));
  EXPECT_THAT(message_of(std::string("\x93NUMPY\x02\x00\xFF\xFF\xFF\xFF xxxxxxxxxxxxxxx", 20)), HasSubstr("header of"));
  EXPECT_THAT(message_of(std::string("\x93NUMPY\x01\x00\x40\x00{'descr'", 18)), HasSubstr("truncated"));
  EXPECT_THAT(message_of(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 7)), HasSubstr("truncated"));
  EXPECT_THAT(message_of(with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", 9)), HasSubstr("too long"));
  for (const char* header :
       {"", "{", "{}", "[]", "{'descr': '<f4'", "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': ()}",
        "{'descr': '<f4', 'fortran_order': Maybe, 'shape': ()}", "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2)}", "{'descr': '<f4', 'fortran_order': False, 'shape': ()} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296,4294967296)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': ()}", "{'descr': '<f3', 'fortran_order': False, 'shape': ()}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': ()}", "{'descr': '', 'fortran_order': False, 'shape': ()}"})
    EXPECT_NE(message_of(with_header(header, 4)), "") << header;
}

TEST(Npy, DamagedFilesNeverCrash) {
  constexpr unsigned kSeed = 17;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  const std::string whole = serialize_npy(Tensor::of<float>({2, 3}, {1, 2, 3, 4, 5, 6}));
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole.substr(0, random() % (whole.size() + 1));
    for (unsigned i = random() % 4; i > 0 && !damaged.empty(); --i)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    try {
      parse_npy(std::as_bytes(std::span(damaged)));
    } catch (const Error& error) {
      EXPECT_TRUE(error.code == ErrorCode::kBadFile) << error.what();
    }
  }
}

Tensor fit(const Tensor& tensor, DType dtype, std::optional<Shape> shape = std::nullopt) {
  return fit_input(tensor, ValueInfo{"x", {dtype, std::move(shape)}, {}}, "sample 3");
}

TEST(FitInput, CastsWhatIsExact) {
  EXPECT_EQ(values<float>(fit(Tensor::of<std::uint8_t>({2}, {0, 255}), DType::f32)), (std::vector<float>{0, 255}));
  EXPECT_EQ(values<std::int64_t>(fit(Tensor::of<float>({2}, {-3, 7}), DType::s64)), (std::vector<std::int64_t>{-3, 7}));
  EXPECT_EQ(values<std::uint8_t>(fit(Tensor::of<std::int64_t>({2}, {0, 255}), DType::u8)), (std::vector<std::uint8_t>{0, 255}));
  EXPECT_EQ(values<float>(fit(Tensor::of<double>({1}, {0.1}), DType::f32)), std::vector<float>{0.1F});  // rounds
  EXPECT_EQ(fit(Tensor::of<float>({1}, {1.5F}), DType::f16).values<Float16>()[0].bits, 0x3E00);
  EXPECT_EQ(values<bool>(fit(Tensor::of<std::int64_t>({2}, {1, 0}), DType::b8)), (std::vector<bool>{true, false}));
  EXPECT_EQ(values<double>(fit(Tensor::of<std::int64_t>({1}, {std::int64_t{1} << 62}), DType::f64)),
            std::vector<double>{4611686018427387904.0});
  EXPECT_TRUE(std::isnan(values<float>(fit(Tensor::of<double>({1}, {std::nan("")}), DType::f32))[0]));
}

TEST(FitInput, RefusesWhatIsNot) {
  const auto refused = [](const Tensor& tensor, DType dtype) {
    try {
      fit(tensor, dtype);
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kBadSample);
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("sample 3"), HasSubstr("'x'"), HasSubstr("element 1")));
      return true;
    }
    return false;
  };
  EXPECT_TRUE(refused(Tensor::of<float>({2}, {1, 1.5F}), DType::s64));
  EXPECT_TRUE(refused(Tensor::of<float>({2}, {1, 9.3e18F}), DType::s64));
  EXPECT_TRUE(refused(Tensor::of<float>({2}, {1, std::nanf("")}), DType::s32));
  EXPECT_TRUE(refused(Tensor::of<std::int64_t>({2}, {1, 256}), DType::u8));
  EXPECT_TRUE(refused(Tensor::of<std::int64_t>({2}, {1, -1}), DType::u64));
  EXPECT_TRUE(refused(Tensor::of<std::uint64_t>({2}, {1, ~std::uint64_t{0}}), DType::s64));
  EXPECT_TRUE(refused(Tensor::of<std::int64_t>({2}, {1, 16777217}), DType::f32));
  EXPECT_TRUE(refused(Tensor::of<std::int64_t>({2}, {1, std::numeric_limits<std::int64_t>::max()}), DType::f64));
  EXPECT_TRUE(refused(Tensor::of<std::int64_t>({2}, {1, 65536}), DType::f16));
  EXPECT_TRUE(refused(Tensor::of<float>({2}, {1, 0.1F}), DType::f16));
  EXPECT_TRUE(refused(Tensor::of<double>({2}, {1, 1e300}), DType::f32));
  EXPECT_TRUE(refused(Tensor::of<std::int64_t>({2}, {1, 2}), DType::b8));
}

TEST(FitInput, ChecksShapes) {
  const Tensor tensor = Tensor::of<float>({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(fit(tensor, DType::f32, Shape{2, 3}).dims(), (Dims{2, 3}));
  EXPECT_EQ(fit(tensor, DType::f32, Shape{Dim("N"), 3}).dims(), (Dims{2, 3}));
  EXPECT_EQ(fit(tensor, DType::f32, Shape{Dim("N"), 2, 3}).dims(), (Dims{1, 2, 3}));
  EXPECT_EQ(fit(tensor, DType::f32, Shape{1, 2, Dim()}).dims(), (Dims{1, 2, 3}));
  for (const Shape& shape : {Shape{2, 4}, Shape{2, 2, 3}, Shape{3}, Shape{Dim("N"), 1, 2, 3}})
    EXPECT_THROW(fit(tensor, DType::f32, shape), Error) << to_string(shape);
}

TEST(CheckFinite, FindsEveryPlace) {
  for (std::size_t place = 0; place < 200; ++place) {
    std::vector<float> values(200, 1);
    check_finite({{"x", Tensor::of<float>({200}, values)}}, "s");
    values[place] = -INFINITY;
    try {
      check_finite({{"x", Tensor::of<float>({200}, values)}}, "s");
      ADD_FAILURE() << place;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("element " + std::to_string(place)));
    }
  }
}

TEST(CheckFinite, NamesInputAndElement) {
  check_finite({{"x", Tensor::of<float>({2}, {1, -3e38F})}, {"i", Tensor::of<std::int64_t>({1}, {5})}}, "s");
  for (const float bad : {INFINITY, -INFINITY, std::nanf("")}) {
    try {
      check_finite({{"a", Tensor::scalar(1.0F)}, {"x", Tensor::of<float>({3}, {1, 2, bad})}}, "pictures/7.png");
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kNonFinite);
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("pictures/7.png"), HasSubstr("'x'"), HasSubstr("element 2")));
    }
  }
}

}  // namespace
}  // namespace zeropoint
