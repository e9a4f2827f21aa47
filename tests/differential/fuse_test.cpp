// fuse() on real models: the operators that are left, and the same results.
#include <gmock/gmock.h>

#include <cmath>
#include <filesystem>
#include <random>
#include <set>

#include "ops/operator.h"
#include "zeropoint/graph.h"
#include "zeropoint/passes.h"

namespace zeropoint {
namespace {

namespace fs = std::filesystem;

std::set<std::string> kinds(const Graph& graph) {
  std::set<std::string> result;
  for (const Node& node : graph.nodes) result.insert(node.op_type);
  return result;
}

// The largest difference of any output, relative to its largest value.
double difference(const Graph& before, const Graph& after) {
  constexpr std::uint32_t kSeed = 2;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  std::normal_distribution<float> normal(0.0F, 1.0F);
  std::map<std::string, Tensor> feeds;
  for (const ValueInfo& input : before.inputs) {
    Dims dims;
    for (const Dim& dim : *input.type.shape) dims.push_back(dim.fixed() ? dim.value : 1);
    Tensor tensor(DType::f32, dims);
    for (float& value : tensor.mutable_values<float>()) value = normal(random);
    feeds.emplace(input.name, tensor);
  }
  const auto expected = ops::evaluate(before, feeds), actual = ops::evaluate(after, feeds);
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto a = expected[i].values<float>(), b = actual[i].values<float>();
    EXPECT_EQ(a.size(), b.size());
    double most = 0, apart = 0;
    for (std::size_t k = 0; k < a.size(); ++k) {
      most = std::max(most, static_cast<double>(std::fabs(a[k])));
      apart = std::max(apart, static_cast<double>(std::fabs(a[k] - b[k])));
    }
    worst = std::max(worst, apart / most);
  }
  return worst;
}

void check(const fs::path& path, const std::set<std::string>& left) {
  SCOPED_TRACE(path);
  const Graph before = load(path), after = fuse(before);
  verify(after);
  EXPECT_THAT(kinds(after), testing::IsSubsetOf(left));
  EXPECT_TRUE(fuse(after) == after);
  EXPECT_LT(difference(before, after), 1e-4);
}

const std::set<std::string> kConvolutional = {"Conv", "Clip", "Relu", "Add", "MaxPool", "GlobalAveragePool", "Flatten", "Gemm"};

TEST(Fuse, SmallNetworks) {
  const fs::path folder = fs::path(ZEROPOINT_SOURCE_DIR) / "tests/data";
  check(folder / "fmnist_dscnn.onnx", kConvolutional);
  check(folder / "fmnist_resnet8.onnx", kConvolutional);
  check(folder / "fmnist_vit.onnx", {"Add", "Conv", "Div", "Erf", "Gemm", "LayerNormalization", "MatMul", "Mul", "ReduceMean",
                                     "Reshape", "Softmax", "Split", "Squeeze", "Transpose"});
}

TEST(Fuse, ImageNetNetworks) {
  const fs::path folder = fs::path(ZEROPOINT_SOURCE_DIR) / "build/models";
  if (!fs::exists(folder / "efficientnet_lite0_raw.onnx")) GTEST_SKIP() << "no models: tools/setup.sh models";
  for (const char* name : {"efficientnet_lite0", "efficientnet_lite0_bn", "efficientnet_lite0_raw", "mobilenet_v2"})
    check(folder / (std::string(name) + ".onnx"), kConvolutional);
}

}  // namespace
}  // namespace zeropoint
