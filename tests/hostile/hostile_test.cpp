// Bytes from anywhere: reading them gives a graph that verifies, or one Error of one line that names the file and the cause.
#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "hostile_models.h"
#include "onnx/test_models.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "zeropoint.XXXXXX").string();
    if (!::mkdtemp(name.data())) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

class Hostile : public testing::TestWithParam<HostileModel> {};

TEST_P(Hostile, IsRefusedInOneLine) {
  const TemporaryFolder folder;
  const fs::path path = folder.path() / (GetParam().name + ".onnx");
  write_file(path, GetParam().bytes);
  try {
    load(path);
    FAIL() << "was read";
  } catch (const Error& error) {
    EXPECT_EQ(name(error.code), name(GetParam().code)) << error.what();
    EXPECT_THAT(error.what(), StartsWith(path.string()));
    EXPECT_THAT(error.what(), HasSubstr(GetParam().cause));
    EXPECT_THAT(error.what(), testing::Not(HasSubstr("\n")));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Hostile, testing::ValuesIn(hostile_models()), [](const auto& test) { return test.param.name; });

ErrorCode code_of(const fs::path& path) {
  try {
    load(path);
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(path.string()));
    return error.code;
  }
  return ErrorCode::kOk;
}

TEST(HostileFiles, FilesThatAreNone) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of(folder.path() / "missing.onnx"), ErrorCode::kIo);
  EXPECT_EQ(code_of(folder.path()), ErrorCode::kIo);
  EXPECT_EQ(code_of("/dev/null"), ErrorCode::kIo);
  const fs::path sparse = folder.path() / "sparse.onnx";
  write_file(sparse, std::string());
  std::error_code cannot;
  fs::resize_file(sparse, std::uintmax_t{1} << 31, cannot);  // 2 GiB of holes take no room
  if (!cannot) {
    EXPECT_EQ(code_of(sparse), ErrorCode::kLimit);
  }
}

TEST(HostileFiles, SavingWhereNothingCanBeWritten) {
  const Graph graph = parse_graph("ir_version 8\nopset 17\ngraph g(x: f32[1]) -> (y) {\n  y = Relu(x)\n}");
  try {
    save(graph, "/proc/nowhere/model.onnx");
    FAIL() << "was written";
  } catch (const Error& error) {
    EXPECT_EQ(error.code, ErrorCode::kIo);
    EXPECT_THAT(error.what(), StartsWith("/proc/nowhere/model.onnx: "));
  }
}

std::string mutate(std::string bytes, std::mt19937_64& random, const std::string& other) {
  const auto position = [&] { return random() % (bytes.size() + 1); };
  const auto kinds = random() % 2 ? 2U : 7U;  // half of the time only what leaves all lengths right
  for (auto k = random() % 4; k < 4 && !bytes.empty(); ++k) {
    // Most bytes of a model are weights; half of the changes go to where its structure is.
    const auto at = random() % 2 ? random() % bytes.size() : random() % std::min<std::size_t>(bytes.size(), 4000);
    switch (random() % kinds) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        break;
      case 1:
        bytes[at] = static_cast<char>(random());
        break;
      case 2:
        bytes.erase(at, 1 + random() % 8);
        break;
      case 3:
        bytes.insert(at, std::string(1 + random() % 8, static_cast<char>(random())));
        break;
      case 4:
        bytes.insert(at, bytes.substr(position(), random() % 200));
        break;
      case 5:
        bytes.insert(at, other.substr(random() % other.size(), random() % 200));
        break;
      default:
        if (random() % 4 == 0) bytes.resize(position());
        break;
    }
  }
  return bytes;
}

TEST(HostileFiles, MutationsAreReadOrRefused) {
  std::vector<std::string> models = {rich_model().SerializeAsString(), small_model().SerializeAsString()};
  for (const char* name : {"dscnn", "resnet8", "lstm", "vit"})
    models.push_back(read_file(fs::path(ZEROPOINT_SOURCE_DIR) / "tests" / "data" / ("fmnist_" + std::string(name) + ".onnx")));
  const char* chosen = std::getenv("ZEROPOINT_MUTATIONS");
  const int count = chosen ? std::atoi(chosen) : 5000;
  std::mt19937_64 random(20);
  std::map<std::string, int> outcomes;
  for (int i = 0; i < count; ++i) {
    const auto which = i % 2 ? 0 : random() % models.size();
    const std::string bytes = mutate(models[which], random, models[0]);
    Graph graph;
    try {
      graph = parse(std::as_bytes(std::span(bytes)));
    } catch (const Error& error) {
      ++outcomes[std::string(name(error.code))];
      ASSERT_NE(error.code, ErrorCode::kInternal) << "mutation " << i << ": " << error.what();
      ASSERT_THAT(error.what(), StartsWith("model")) << "mutation " << i;
      continue;
    }
    ++outcomes["read"];
    // Whatever was read can be written, and means the same again.
    const std::string written = serialize(graph);
    ASSERT_TRUE(parse(std::as_bytes(std::span(written))) == graph) << "mutation " << i;
  }
  for (const auto& [outcome, times] : outcomes) std::printf("%6d %s\n", times, outcome.c_str());
  EXPECT_GT(outcomes["read"], count / 50);
}

}  // namespace
}  // namespace zeropoint
