// Bytes from anywhere: reading them gives a graph that verifies, or one Error of one line that names the file and the cause.
#include <gmock/gmock.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "base/file.h"
#include "hostile_models.h"
#include "onnx/temporary_folder.h"
#include "onnx/test_models.h"
#include "ops/operator.h"
#include "zeropoint/graph.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class Hostile : public testing::TestWithParam<HostileModel> {};

void expect_refusal(const HostileModel& model, const Error& error, const std::string& file) {
  if (model.code != ErrorCode::kOk) {
    EXPECT_EQ(name(error.code), name(model.code)) << error.what();
  }
  EXPECT_NE(error.code, ErrorCode::kInternal) << error.what();
  EXPECT_THAT(error.what(), StartsWith(file));
  EXPECT_THAT(error.what(), HasSubstr(model.cause));
  EXPECT_EQ(printable(error.what()), error.what());
}

TEST_P(Hostile, IsRefusedInOneLine) {
  const TemporaryFolder folder;
  const HostileModel& model = GetParam();
  if (model.name.starts_with("external")) write_external_files(folder.path());
  const fs::path path = folder.path() / (model.name + ".onnx");
  write_file(path, model.bytes);
  Graph graph;
  try {
    graph = load(path);
  } catch (const Error& error) {
    return expect_refusal(model, error, path.string());
  }
  ASSERT_EQ(model.stage, HostileModel::Stage::kMeaning) << "was read";
  try {
    ops::infer_shapes(graph);
    // What shapes do not show: an operator or types that this version does not run.
    std::map<std::string, Tensor> feeds;
    for (const ValueInfo& input : graph.inputs)
      feeds.emplace(input.name, Tensor(input.type.dtype, *fixed_dims(*input.type.shape)));
    ops::evaluate(graph, feeds);
    FAIL() << "was taken";
  } catch (const Error& error) {
    expect_refusal(model, error, path.string());
  }
}

std::vector<HostileModel> all_that_are_refused() {
  std::vector<HostileModel> all;
  for (auto* make : {hostile_models, hostile_operators, hostile_external, hostile_mutations})
    for (HostileModel& model : make())
      if (model.stage != HostileModel::Stage::kEither) all.push_back(std::move(model));
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, Hostile, testing::ValuesIn(all_that_are_refused()),
                         [](const auto& test) { return test.param.name; });

TEST(HostileFiles, MutationsAreRefusedOrGoOnWorking) {
  int refused = 0, read = 0;
  for (const HostileModel& model : hostile_mutations()) {
    if (model.stage != HostileModel::Stage::kEither) continue;
    try {
      Graph graph = parse(std::as_bytes(std::span(model.bytes)), model.name);
      ops::infer_shapes(graph);
      ++read;
    } catch (const Error& error) {
      expect_refusal(model, error, "");
      ++refused;
    }
  }
  std::printf("%d mutations: %d refused\n", refused + read, refused);
}

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
