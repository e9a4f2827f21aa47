// Each pass turns tests/golden/passes/NAME.before.txt into NAME.after.txt, and the graph computes the same before and after.
// ZEROPOINT_UPDATE_GOLDEN=1 writes the after files.
#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

#include "ops/operator.h"
#include "passes/passes.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

std::string golden_path(const std::string& name) {
  return std::string(ZEROPOINT_SOURCE_DIR) + "/tests/golden/passes/" + name + ".txt";
}

std::string read(const std::string& name) {
  std::ifstream file(golden_path(name));
  return {std::istreambuf_iterator<char>(file), {}};
}

std::map<std::string, Tensor> random_feeds(const Graph& graph, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, 3.0F);
  std::map<std::string, Tensor> feeds;
  for (const ValueInfo& input : graph.inputs) {
    Dims dims;
    for (const Dim& dim : *input.type.shape) dims.push_back(dim.fixed() ? dim.value : 3);
    Tensor tensor(input.type.dtype, dims);
    if (input.type.dtype == DType::f32)
      for (float& value : tensor.mutable_values<float>()) value = normal(random);
    feeds.emplace(input.name, tensor);
  }
  return feeds;
}

bool runs(const Graph& graph) {
  for (const Node& node : graph.nodes)
    if (ops::find(node) == nullptr) return false;
  return true;
}

void expect_same_function(const Graph& before, const Graph& after, double tolerance) {
  if (!runs(before)) return;
  constexpr std::uint32_t kSeed = 7;
  SCOPED_TRACE(kSeed);
  const auto feeds = random_feeds(before, kSeed);
  const auto expected = ops::evaluate(before, feeds), actual = ops::evaluate(after, feeds);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    ASSERT_EQ(actual[i].dims(), expected[i].dims()) << before.outputs[i].name;
    if (tolerance == 0) {
      EXPECT_TRUE(actual[i] == expected[i]) << before.outputs[i].name;
      continue;
    }
    const auto a = actual[i].values<float>(), b = expected[i].values<float>();
    for (std::size_t k = 0; k < a.size(); ++k)
      ASSERT_NEAR(a[k], b[k], tolerance * (1 + std::fabs(b[k]))) << before.outputs[i].name;
  }
}

struct Case {
  const char* name;
  bool (*pass)(Graph&);
  double tolerance;  // relative; 0: the same bits
};
void PrintTo(const Case& value, std::ostream* out) { *out << value.name; }

class Golden : public testing::TestWithParam<Case> {};

TEST_P(Golden, TurnsBeforeIntoAfter) {
  const auto& [name, pass, tolerance] = GetParam();
  const Graph before = parse_graph(read(std::string(name) + ".before"));
  verify(before);
  Graph after = before;
  if (pass == nullptr) {
    after = fuse(before);
  } else {
    ops::infer_shapes(after);
    EXPECT_TRUE(pass(after)) << "the pass says that it changed nothing";
  }
  verify(after);
  expect_same_function(before, after, tolerance);

  const std::string text = to_text(after);
  if (std::getenv("ZEROPOINT_UPDATE_GOLDEN") != nullptr) std::ofstream(golden_path(std::string(name) + ".after")) << text;
  EXPECT_EQ(text, read(std::string(name) + ".after"));

  if (pass != nullptr) {
    ops::infer_shapes(after);
    EXPECT_FALSE(pass(after)) << "a second run finds more to do:\n" << to_text(after);
  } else {
    EXPECT_TRUE(fuse(after) == after);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Passes, Golden,
    testing::Values(Case{"fold_constants", passes::fold_constants, 0}, Case{"inline_branches", passes::inline_branches, 0},
                    Case{"remove_identity", passes::remove_identity, 0}, Case{"resolve_reshape", passes::resolve_reshape, 0},
                    Case{"fold_pad", passes::fold_pad, 0}, Case{"fold_transpose", passes::fold_transpose, 1e-6},
                    Case{"fold_batchnorm", passes::fold_batchnorm, 1e-6}, Case{"fold_scale", passes::fold_scale, 1e-6},
                    Case{"simplify_matmul", passes::simplify_matmul, 1e-6}, Case{"fuse_activation", passes::fuse_activation, 0},
                    Case{"remove_dead_code", passes::remove_dead_code, 0}, Case{"fuse", nullptr, 1e-6}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace zeropoint
