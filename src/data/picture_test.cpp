#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "data/npz.h"
#include "zeropoint/data.h"

namespace zeropoint {
namespace {

using testing::HasSubstr;

std::string file(const std::string& name) { return std::string(ZEROPOINT_SOURCE_DIR) + "/tests/data/samples/" + name; }

Picture decode(const std::string& name, std::uint64_t max_pixels = 1 << 20) {
  return decode_picture(MappedFile::open(file(name))->bytes(), name, max_pixels);
}

// What Pillow made of the same file (tests/data/samples/make.py).
Tensor golden(data::ZipFile& archive, const std::string& name) {
  const data::ZipMember* member = archive.find(name + ".npy");
  if (member == nullptr) throw std::runtime_error("no " + name);
  return data::read_member(archive, *member, 1 << 20);
}

// Largest difference of a level, or -1 when the sizes differ.
int difference(const Picture& picture, const Tensor& expected) {
  if (expected.dims() != Dims{picture.height, picture.width, 3}) return -1;
  const auto values = expected.values<std::uint8_t>();
  int largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) largest = std::max(largest, std::abs(picture.rgb[i] - values[i]));
  return largest;
}

TEST(Picture, DecodesAsPillow) {
  data::ZipFile archive(file("pictures.npz"));
  EXPECT_EQ(archive.members().size(), 14U);
  for (const data::ZipMember& member : archive.members()) {
    const std::string name = member.name.substr(0, member.name.size() - 4);
    EXPECT_EQ(difference(decode("pictures/" + name), golden(archive, name)), 0) << name;
  }
}

TEST(Picture, ResizesAsPillow) {
  data::ZipFile archive(file("resized.npz"));
  const Picture source = decode("pictures/rgb.png");
  int checked = 0;
  for (const auto& [height, width] : {std::pair{10, 15}, {7, 30}, {20, 11}, {27, 19}, {1, 1}, {20, 30}}) {
    for (const auto& [name, filter] :
         {std::pair{"bilinear", Preprocess::Filter::bilinear}, {"bicubic", Preprocess::Filter::bicubic}}) {
      const std::string key = std::to_string(height) + "x" + std::to_string(width) + "_" + name;
      EXPECT_EQ(difference(resize(source, height, width, filter), golden(archive, key)), 0) << key;
      ++checked;
    }
  }
  EXPECT_EQ(checked, 12);
}

TEST(Picture, Limits) {
  try {
    decode("pictures/rgb.png", 599);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kLimit);
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("rgb.png"), HasSubstr("30 x 20")));
  }
  EXPECT_THROW(decode("pictures/baseline.jpg", 599), Error);
  EXPECT_EQ(decode("pictures/rgb.png", 600).width, 30);
  EXPECT_THROW(resize(decode("pictures/rgb.png"), 16384, 16384, Preprocess::Filter::bilinear), Error);
}

TEST(Picture, TruncatedFilesAreNamed) {
  for (const char* name :
       {"pictures/rgb.png", "pictures/baseline.jpg", "pictures/progressive.jpg", "pictures/interlaced.png"}) {
    const std::string whole = read_file(file(name));
    for (const std::size_t size : {std::size_t{0}, std::size_t{3}, std::size_t{20}, whole.size() / 2, whole.size() - 10}) {
      const std::string part = whole.substr(0, size);
      try {
        decode_picture(std::as_bytes(std::span(part)), "p.png");
        ADD_FAILURE() << name << " of " << size;
      } catch (const Error& error) {
        EXPECT_EQ(error.code, ErrorCode::kBadFile);
        EXPECT_EQ(error.where, "p.png");
      }
    }
  }
}

TEST(Picture, DamagedFilesNeverCrash) {
  constexpr unsigned kSeed = 23;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  std::mt19937 random(kSeed);
  for (const char* name : {"pictures/palette.png", "pictures/alpha.png", "pictures/interlaced.png", "pictures/baseline.jpg",
                           "pictures/progressive.jpg", "pictures/cmyk.jpg"}) {
    const std::string whole = read_file(file(name));
    for (int round = 0; round < 200; ++round) {
      std::string damaged = whole;
      for (unsigned i = 1 + random() % 4; i > 0; --i) damaged[random() % damaged.size()] = static_cast<char>(random());
      try {
        decode_picture(std::as_bytes(std::span(damaged)), "p", 1 << 16);
      } catch (const Error& error) {
        EXPECT_TRUE(error.code == ErrorCode::kBadFile || error.code == ErrorCode::kLimit) << error.what();
      }
    }
  }
}

TEST(Preprocess, Reads) {
  const Preprocess how = parse_preprocess(R"({"input": "images", "resize": {"short_side": 256, "filter": "bicubic"},
      "crop": {"height": 224, "width": 192, "position": "center"}, "color_order": "BGR", "mean": [1, 2, 3.5], "std": 128,
      "scale": 0.5, "layout": "NHWC"})");
  EXPECT_EQ(how.input, "images");
  EXPECT_EQ(how.short_side, 256);
  EXPECT_EQ(how.filter, Preprocess::Filter::bicubic);
  EXPECT_EQ(how.crop_height, 224);
  EXPECT_EQ(how.crop_width, 192);
  EXPECT_EQ(how.colors, Preprocess::Colors::bgr);
  EXPECT_EQ(how.mean, (std::array{1.0F, 2.0F, 3.5F}));
  EXPECT_EQ(how.std, (std::array{128.0F, 128.0F, 128.0F}));
  EXPECT_EQ(how.scale, 0.5F);
  EXPECT_TRUE(how.channel_last);
}

TEST(Preprocess, ErrorsHoldThePointer) {
  for (const auto& [text, pointer] : {std::pair{"{", "JSON"},
                                      {"[]", "must be an object"},
                                      {R"({"resize": 256})", "/resize"},
                                      {R"({"resize": {"short_side": 0}})", "/resize/short_side"},
                                      {R"({"resize": {"short_side": 1.5}})", "/resize/short_side"},
                                      {R"({"resize": {"height": 8}})", "/resize/width"},
                                      {R"({"resize": {"short_side": 8, "filter": "nearest"}})", "/resize/filter"},
                                      {R"({"crop": {"height": 8, "width": 8, "position": "left"}})", "/crop/position"},
                                      {R"({"crop": {"height": 8, "width": 8, "top": 1}})", "/crop/top"},
                                      {R"({"mean": [1, 2]})", "/mean"},
                                      {R"({"mean": [1, "2", 3]})", "/mean/1"},
                                      {R"({"mean": [1, 1e99, 3]})", "/mean/1"},
                                      {R"({"std": 0})", "/std"},
                                      {R"({"layout": "CHW"})", "/layout"},
                                      {R"({"colour": "RGB"})", "/colour"}}) {
    try {
      parse_preprocess(text, "p.json");
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kBadFile);
      EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("p.json"), HasSubstr(pointer)));
    }
  }
}

TEST(Preprocess, CropsScalesAndOrders) {
  Picture picture{4, 6, {}};
  for (int i = 0; i < 4 * 6; ++i)
    for (int c = 0; c < 3; ++c) picture.rgb.push_back(static_cast<std::uint8_t>(10 * i + c));
  Preprocess how;
  how.crop_height = 2;
  how.crop_width = 3;
  how.scale = 2;
  how.mean = {1, 2, 3};
  how.std = {1, 2, 4};
  const auto level = [](int y, int x, int c) { return static_cast<float>(10 * (y * 6 + x) + c); };
  const Tensor planes = preprocess(picture, how);
  EXPECT_EQ(planes.dims(), (Dims{1, 3, 2, 3}));
  how.channel_last = true;
  how.colors = Preprocess::Colors::bgr;
  const Tensor pixels = preprocess(picture, how);
  EXPECT_EQ(pixels.dims(), (Dims{1, 2, 3, 3}));
  for (int y = 0; y < 2; ++y)
    for (int x = 0; x < 3; ++x)
      for (int c = 0; c < 3; ++c) {
        const auto at = static_cast<std::size_t>(c);
        // Top (4 - 2) / 2 = 1, left (6 - 3) / 2 = 1.
        EXPECT_EQ(planes.values<float>()[static_cast<std::size_t>((c * 2 + y) * 3 + x)],
                  (level(y + 1, x + 1, c) * 2 - how.mean[at]) / how.std[at]);
        EXPECT_EQ(pixels.values<float>()[static_cast<std::size_t>((y * 3 + x) * 3 + c)],
                  (level(y + 1, x + 1, 2 - c) * 2 - how.mean[at]) / how.std[at]);
      }
  how.crop_width = 7;
  EXPECT_THROW(preprocess(picture, how), Error);
}

TEST(Preprocess, GrayAsPillow) {
  data::ZipFile archive(file("resized.npz"));
  const Tensor expected = golden(archive, "luma");
  Preprocess how;
  how.colors = Preprocess::Colors::gray;
  const Tensor tensor = preprocess(decode("pictures/rgb.png"), how);
  ASSERT_EQ(tensor.dims(), (Dims{1, 1, 20, 30}));
  for (std::size_t i = 0; i < 600; ++i)
    EXPECT_EQ(tensor.values<float>()[i], static_cast<float>(expected.values<std::uint8_t>()[i]));
}

TEST(Preprocess, ShortSideKeepsTheAspect) {
  Picture picture{30, 20, std::vector<std::uint8_t>(30 * 20 * 3, 7)};
  Preprocess how;
  how.short_side = 7;
  EXPECT_EQ(preprocess(picture, how).dims(), (Dims{1, 3, 10, 7}));  // 30 * 7 / 20 = 10.5
  std::swap(picture.height, picture.width);
  EXPECT_EQ(preprocess(picture, how).dims(), (Dims{1, 3, 7, 10}));
}

}  // namespace
}  // namespace zeropoint
