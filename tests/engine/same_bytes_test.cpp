// The promise of a quantized file (docs/arithmetic.md): one file and one input give the same bytes on every instruction set,
// number of threads and split of the batch. The hashes in tests/golden/outputs.txt were made by one machine and hold for all.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "ir/hash.h"
#include "zeropoint/cpu.h"
#include "zeropoint/graph.h"
#include "zeropoint/session.h"

namespace zeropoint {
namespace {

const std::filesystem::path kTests = std::filesystem::path(ZEROPOINT_SOURCE_DIR) / "tests";
constexpr std::int64_t kBatch = 5, kPixels = 28 * 28;

// Pixels as the networks know them, from integers alone so that every machine makes the same.
Tensor pictures(std::int64_t count, std::uint32_t seed) {
  Tensor tensor(DType::f32, {count, 1, 28, 28});
  for (float& value : tensor.mutable_values<float>()) {
    seed = seed * 1664525U + 1013904223U;  // Knuth, TAOCP volume 2, 3.3.4, line 16 of table 1
    value = static_cast<float>(static_cast<int>(seed >> 24) - 73) / 90.0F;
  }
  return tensor;
}

std::map<std::string, std::string> golden_hashes() {
  std::map<std::string, std::string> hashes;
  std::ifstream file(kTests / "golden/outputs.txt");
  for (std::string name, hash; file >> name >> hash;) hashes[name] = hash;
  return hashes;
}

class SameBytesTest : public ::testing::TestWithParam<const char*> {};

TEST_P(SameBytesTest, OnEveryInstructionSetThreadCountAndSplit) {
  const std::string network = GetParam();
  const Graph graph = load(kTests / "data/quantized" / (network + ".onnx"));
  const Tensor images = pictures(kBatch, 1);
  const std::string golden = golden_hashes()[network];
  for (const Isa isa : members(detected_isas()))
    for (const int threads : {1, 2}) {
      Session session(graph, {.threads = threads, .max_isa = isa});
      const Tensor logits = session.run({{"images", images}}).front();
      EXPECT_EQ(hash_of(logits.bytes()), golden) << network << " on " << name(isa) << " with " << threads << " threads";
      if (!network.ends_with(".static")) continue;  // dynamic scales of a tensor see the whole batch
      for (std::int64_t i = 0; i < kBatch; ++i) {
        const Tensor image =
            Tensor::of<float>({1, 1, 28, 28}, images.values<float>().subspan(static_cast<std::size_t>(i * kPixels), kPixels));
        const Tensor alone = session.run({{"images", image}}).front();
        EXPECT_EQ(alone, Tensor::of<float>({1, 10}, logits.values<float>().subspan(static_cast<std::size_t>(i * 10), 10)))
            << network << " on " << name(isa) << ", image " << i;
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Networks, SameBytesTest,
                         ::testing::Values("fmnist_dscnn.static", "fmnist_resnet8.static", "fmnist_vit.static",
                                           "fmnist_lstm.static", "fmnist_vit.dynamic", "fmnist_lstm.dynamic"),
                         [](const auto& network) {
                           std::string name = network.param;
                           name[name.find('.')] = '_';
                           return name;
                         });

}  // namespace
}  // namespace zeropoint
