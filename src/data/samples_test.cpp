#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "base/file.h"
#include "data/labels.h"
#include "zeropoint/data.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

std::string file(const std::string& name) { return std::string(ZEROPOINT_SOURCE_DIR) + "/tests/data/samples/" + name; }

ValueInfo input(const std::string& name, DType dtype, Shape shape) { return {name, {dtype, std::move(shape)}, {}}; }
const ValueInfo kImage = input("x", DType::f32, {Dim("N"), 1, 2, 3});
const ValueInfo kMask = input("mask", DType::s64, {Dim("N"), 2});

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (fs::temp_directory_path() / "zeropoint_data_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  void copy(const std::string& from, const std::string& to) const {
    fs::create_directories((path_ / to).parent_path());
    fs::copy_file(file(from), path_ / to);
  }
  void write(const std::string& name, const std::string& text) const { std::ofstream(path_ / name, std::ios::binary) << text; }

 private:
  fs::path path_;
};

template <class Call>
std::string error_of(const Call& call, ErrorCode code) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(name(error.code), name(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

void expect_archive(const Samples& samples) {
  ASSERT_EQ(samples.size(), 5U);
  const Tensor all = read_npy(file("axis.npy"));
  const std::vector<std::int64_t> labels{3, 1, 4, 1, 5};
  for (const std::size_t i : {0U, 1U, 4U, 2U, 3U, 0U}) {
    const Feeds feeds = samples.get(i);
    ASSERT_EQ(feeds.size(), 2U);
    const auto part = all.values<float>().subspan(i * 6, 6);
    EXPECT_EQ(feeds.at("x"), Tensor::of<float>({1, 1, 2, 3}, part)) << i;
    const auto number = static_cast<std::int64_t>(i);
    EXPECT_EQ(feeds.at("mask"), Tensor::of<std::int64_t>({1, 2}, {2 * number, 2 * number + 1})) << i;
    EXPECT_EQ(samples.label(i), labels[i]);
    EXPECT_THAT(samples.describe(i), HasSubstr(".npz, sample " + std::to_string(i)));
  }
}

TEST(Samples, ArchivesWithASampleAxis) {
  expect_archive(*open_samples(file("stored.npz"), {kImage, kMask}));
  expect_archive(*open_samples(file("deflated.npz"), {kImage, kMask}));
}

TEST(Samples, ASampleLosesItsAxisWhereTheModelHasNone) {
  const auto samples = open_samples(file("stored.npz"), {input("x", DType::f32, {1, 2, 3}), input("mask", DType::s64, {2})});
  EXPECT_EQ(samples->get(2).at("x").dims(), (Dims{1, 2, 3}));
  EXPECT_EQ(samples->get(2).at("mask").dims(), (Dims{2}));
}

TEST(Samples, AnArrayWithASampleAxis) {
  const auto samples = open_samples(file("axis.npy"), {kImage});
  ASSERT_EQ(samples->size(), 5U);
  const auto archive = open_samples(file("deflated.npz"), {kImage, kMask});
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(samples->get(i).at("x"), archive->get(i).at("x"));
  EXPECT_EQ(samples->label(0), std::nullopt);
}

TEST(Samples, ThreadsReadTheSame) {
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    const auto samples = open_samples(file(name), {kImage, kMask});
    std::vector<Feeds> alone;
    for (std::size_t i = 0; i < 5; ++i) alone.push_back(samples->get(i));
    std::vector<std::thread> threads;
    std::atomic<int> wrong{0};
    for (std::size_t t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < 40; ++i) {
          const std::size_t index = (i * (t + 1)) % 5;
          if (samples->get(index) != alone[index]) ++wrong;
        }
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(wrong, 0);
  }
}

TEST(Samples, ArchiveErrors) {
  EXPECT_THAT(error_of([] { open_samples(file("stored.npz"), {kImage}); }, ErrorCode::kBadSample),
              AllOf(HasSubstr("stored.npz"), HasSubstr("'mask' is no input")));
  EXPECT_THAT(
      error_of([] { open_samples(file("stored.npz"), {kImage, kMask, input("y", DType::f32, {1})}); }, ErrorCode::kBadSample),
      AllOf(HasSubstr("no array for input 'y'"), HasSubstr("'x', 'mask'")));
  const auto wrong_shape = open_samples(file("stored.npz"), {input("x", DType::f32, {Dim("N"), 3, 2, 3}), kMask});
  EXPECT_THAT(error_of([&] { wrong_shape->get(1); }, ErrorCode::kBadSample),
              AllOf(HasSubstr("stored.npz, sample 1"), HasSubstr("[1,1,2,3]"), HasSubstr("[N,3,2,3]")));
  const auto wrong_type = open_samples(file("stored.npz"), {input("x", DType::s64, {Dim("N"), 1, 2, 3}), kMask});
  EXPECT_THAT(error_of([&] { wrong_type->get(1); }, ErrorCode::kBadSample), HasSubstr("model wants s64"));
  EXPECT_THAT(error_of([] { open_samples("/nowhere/at/all", {kImage}); }, ErrorCode::kIo), HasSubstr("/nowhere/at/all"));
  EXPECT_THAT(error_of([] { open_samples(file("make.py"), {kImage}); }, ErrorCode::kBadSample), HasSubstr("make.py"));
  EXPECT_THAT(error_of([] { open_samples(file("axis.npy"), {kImage, kMask}); }, ErrorCode::kBadSample),
              HasSubstr("'x', 'mask'"));
  DataOptions small;
  small.max_sample_bytes = 23;
  EXPECT_THAT(error_of([&] { open_samples(file("stored.npz"), {kImage, kMask}, small); }, ErrorCode::kLimit),
              HasSubstr("x.npy"));
}

TEST(Samples, DamagedArchivesNeverCrash) {
  const TemporaryFolder folder;
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    const std::string whole = read_file(file(name));
    for (std::size_t i = 0; i < whole.size(); i += 3) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ 0x55);
      if (i % 2 == 0) damaged.resize(whole.size() - i / 2);
      folder.write("d.npz", damaged);
      try {
        const auto samples = open_samples(folder.path() / "d.npz", {kImage, kMask});
        for (std::size_t s = 0; s < samples->size() && s < 5; ++s) samples->get(s);
      } catch (const Error& error) {
        EXPECT_NE(error.code, ErrorCode::kInternal) << error.what();
      }
    }
  }
}

TEST(Samples, FolderOfArrays) {
  const TemporaryFolder folder;
  const Tensor all = read_npy(file("axis.npy"));
  for (int i : {2, 0, 1}) {
    const auto part = all.values<float>().subspan(static_cast<std::size_t>(i) * 6, 6);
    fs::create_directories(folder.path() / "sub");
    write_npy(Tensor::of<float>({1, 2, 3}, part), folder.path() / (i == 2 ? "sub/a.npy" : "b" + std::to_string(i) + ".npy"));
  }
  folder.write("labels.csv", "file,label\nsub/a.npy,7\nb1.npy,\nelsewhere.npy,3\n");
  folder.write("notes.txt", "not a sample");
  folder.write(".hidden.npy", "not a sample");
  const auto samples = open_samples(folder.path(), {kImage});
  ASSERT_EQ(samples->size(), 3U);  // b0, b1, sub/a
  EXPECT_EQ(samples->get(2).at("x"), Tensor::of<float>({1, 1, 2, 3}, all.values<float>().subspan(12, 6)));
  EXPECT_EQ(samples->label(2), 7);
  EXPECT_EQ(samples->label(1), std::nullopt);
  EXPECT_THAT(samples->describe(2), HasSubstr("sub/a.npy"));
  folder.write("c.npy", "nonsense");
  const auto damaged = open_samples(folder.path(), {kImage});
  EXPECT_THAT(error_of([&] { damaged->get(2); }, ErrorCode::kBadFile),
              AllOf(HasSubstr("c.npy"), HasSubstr("not an .npy file")));
  folder.write("d.npz", "nonsense");
  EXPECT_THAT(error_of([&] { open_samples(folder.path(), {kImage}); }, ErrorCode::kBadSample), HasSubstr("one kind"));
}

TEST(Samples, FolderOfArchives) {
  const TemporaryFolder folder;
  folder.copy("stored.npz", "1.npz");  // here all five rows are one sample, a batch
  folder.copy("deflated.npz", "0.npz");
  const auto samples = open_samples(folder.path(), {kImage, kMask});
  ASSERT_EQ(samples->size(), 2U);
  EXPECT_EQ(samples->get(0), samples->get(1));
  EXPECT_EQ(samples->get(0).at("x").dims(), (Dims{5, 1, 2, 3}));
  EXPECT_THAT(error_of([&] { samples->label(0); }, ErrorCode::kBadSample), HasSubstr("5 labels"));
}

TEST(Samples, FolderOfPictures) {
  const TemporaryFolder folder;
  folder.copy("pictures/rgb.png", "b.PNG");
  folder.copy("pictures/baseline.jpg", "a/z.jpg");
  const ValueInfo images = input("images", DType::f32, {Dim("N"), 3, 8, 8});
  EXPECT_THAT(error_of([&] { open_samples(folder.path(), {images}); }, ErrorCode::kBadSample), HasSubstr("preprocess.json"));
  folder.write("preprocess.json", R"({"input": "images", "resize": {"short_side": 8}, "crop": {"height": 8, "width": 8}})");
  const auto samples = open_samples(folder.path(), {images});
  ASSERT_EQ(samples->size(), 2U);
  EXPECT_THAT(samples->describe(0), HasSubstr("a/z.jpg"));
  EXPECT_EQ(samples->get(1).at("images").dims(), (Dims{1, 3, 8, 8}));
  EXPECT_EQ(samples->get(0), samples->get(0));
  const ValueInfo other = input("other", DType::f32, {Dim("N"), 3, 8, 8});
  EXPECT_THAT(error_of([&] { open_samples(folder.path(), {other}); }, ErrorCode::kBadSample), HasSubstr("/input is 'images'"));
  folder.write("broken.png", "nonsense");
  const auto broken = open_samples(folder.path(), {images});
  EXPECT_THAT(error_of([&] { broken->get(2); }, ErrorCode::kBadFile), HasSubstr("broken.png: neither a PNG nor a JPEG"));
}

TEST(Samples, EmptyFolder) {
  const TemporaryFolder folder;
  EXPECT_THAT(error_of([&] { open_samples(folder.path(), {kImage}); }, ErrorCode::kBadSample), HasSubstr("holds no samples"));
}

TEST(Samples, InMemory) {
  const Tensor row = Tensor::of<double>({1, 2, 3}, {1, 2, 3, 4, 5, 6});
  const auto samples = memory_samples({{{"x", row}}, {{"x", row}}}, {kImage}, {4, std::nullopt});
  EXPECT_EQ(samples->get(1).at("x"), Tensor::of<float>({1, 1, 2, 3}, {1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(samples->label(0), 4);
  EXPECT_EQ(samples->label(1), std::nullopt);
  EXPECT_THAT(error_of([&] { memory_samples({{{"y", row}}}, {kImage}); }, ErrorCode::kBadSample), HasSubstr("'x'"));
  EXPECT_THAT(error_of([&] { memory_samples({{{"x", row}, {"y", row}}}, {kImage}); }, ErrorCode::kBadSample),
              HasSubstr("2 tensors"));
}

TEST(Labels, Csv) {
  const auto labels =
      data::parse_labels("\xEF\xBB\xBFlabel,note,file\r\n3,\"a, \"\"b\"\"\n\",x.png\r\n,,y.png\n\n-1,,\"z,1.png\"", "l.csv");
  EXPECT_EQ(labels, (std::map<std::string, std::int64_t>{{"x.png", 3}, {"z,1.png", -1}}));
  for (const auto& [text, message] : {std::pair{"", "empty"},
                                      {"name,label\n", "no column 'file'"},
                                      {"file,label\na.png\n", "line 2: 1 fields"},
                                      {"file,label\na.png,cat\n", "'cat' is not a whole number"},
                                      {"file,label\na,1\na,2\n", "line 3: 'a' has a label"},
                                      {"file,label\n\"a,1\n", "does not end"}})
    EXPECT_THAT(error_of([&] { data::parse_labels(text, "l.csv"); }, ErrorCode::kBadFile),
                AllOf(HasSubstr("l.csv"), HasSubstr(message)));
}

TEST(Draw, IsTheSameEverywhere) {
  // Fixed for ever: published figures name their seeds. From an implementation in Python.
  EXPECT_THAT(draw(10, 4, 0), ElementsAre(1, 5, 7, 9));
  EXPECT_THAT(draw(450, 6, 42), ElementsAre(77, 118, 163, 212, 249, 390));
  EXPECT_EQ(draw(100, 100, 1), draw(100, 200, 2));
  EXPECT_EQ(draw(0, 3, 1).size(), 0U);
  EXPECT_NE(draw(450, 64, 0), draw(450, 64, 1));
  // Each index is about as likely as any other.
  std::vector<int> hits(10);
  for (std::uint64_t seed = 0; seed < 3000; ++seed)
    for (const std::size_t i : draw(10, 3, seed)) ++hits[i];
  for (const int n : hits) EXPECT_NEAR(n, 900, 120);
}

TEST(Draw, ComplementIsTheRest) {
  const auto drawn = draw(50, 20, 9);
  const auto rest = complement(50, drawn);
  std::vector<std::size_t> all(drawn);
  all.insert(all.end(), rest.begin(), rest.end());
  std::sort(all.begin(), all.end());
  for (std::size_t i = 0; i < 50; ++i) EXPECT_EQ(all[i], i);
  EXPECT_EQ(all.size(), 50U);
}

TEST(Subset, Forwards) {
  const auto samples = open_samples(file("stored.npz"), {kImage, kMask});
  const Subset subset(*samples, {4, 1});
  EXPECT_EQ(subset.size(), 2U);
  EXPECT_EQ(subset.get(0), samples->get(4));
  EXPECT_EQ(subset.label(1), 1);
  EXPECT_EQ(subset.describe(1), samples->describe(1));
  EXPECT_THROW(Subset(*samples, {5}), Error);
}

}  // namespace
}  // namespace zeropoint
