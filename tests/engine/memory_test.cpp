// The promises about memory: Session::run into given tensors allocates nothing after the first run, in any thread, and a
// session takes little more than its packed weights and its planned memory. The test takes the place of the C library's
// allocator. What oneDNN allocates inside of its own calls is its own, and not counted.
#include <gtest/gtest.h>
#include <malloc.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "zeropoint/graph.h"
#include "zeropoint/session.h"

// glibc's own, by the names that stay when malloc is replaced.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* data, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);
void __libc_free(void* data);
}

namespace {

std::atomic<std::int64_t> allocations{0};
std::atomic<bool> inside_onednn{false};

void* count(void* data) {
  if (!inside_onednn) allocations.fetch_add(1, std::memory_order_relaxed);
  return data;
}

}  // namespace

extern "C" {
void* malloc(std::size_t bytes) { return count(__libc_malloc(bytes)); }
void* calloc(std::size_t number, std::size_t bytes) { return count(__libc_calloc(number, bytes)); }
void* memalign(std::size_t alignment, std::size_t bytes) { return count(__libc_memalign(alignment, bytes)); }
void* aligned_alloc(std::size_t alignment, std::size_t bytes) { return count(__libc_memalign(alignment, bytes)); }
int posix_memalign(void** data, std::size_t alignment, std::size_t bytes) {
  *data = count(__libc_memalign(alignment, bytes));
  return *data == nullptr ? ENOMEM : 0;
}
void* realloc(void* data, std::size_t bytes) { return count(__libc_realloc(data, bytes)); }
void free(void* data) { __libc_free(data); }

#if defined(ZEROPOINT_WITH_ONEDNN)
// By the linker's --wrap.
int __real_dnnl_primitive_execute(const void* primitive, void* stream, int count, const void* arguments);
int __wrap_dnnl_primitive_execute(const void* primitive, void* stream, int count, const void* arguments) {
  inside_onednn = true;
  const int status = __real_dnnl_primitive_execute(primitive, stream, count, arguments);
  inside_onednn = false;
  return status;
}
#endif
}

namespace zeropoint {
namespace {

const std::filesystem::path kNetworks = std::filesystem::path(ZEROPOINT_SOURCE_DIR) / "tests/data/quantized";

class AllocationTest : public ::testing::TestWithParam<const char*> {};

TEST_P(AllocationTest, RunAllocatesNothingAfterTheFirstCall) {
  for (const int threads : {1, 2}) {
    Session session(load(kNetworks / GetParam()), {.threads = threads, .shapes = {{"images", {2, 1, 28, 28}}}});
    const std::vector<Tensor> in = {Tensor(DType::f32, {2, 1, 28, 28})};
    std::vector<Tensor> out = {Tensor(DType::f32, {2, 10})};
    ASSERT_EQ(session.run(in, out), ErrorCode::kOk);
    const std::int64_t before = allocations;
    for (int i = 0; i < 3; ++i) ASSERT_EQ(session.run(in, out), ErrorCode::kOk);
    EXPECT_EQ(allocations - before, 0) << threads << " threads";
  }
}

// 24 quantized convolutions of 0.6 and 1.8 MB of weights: 33 MB, of which huge pages hold a part.
Graph convolutions() {
  std::mt19937 random(1);
  Graph graph;
  graph.opsets[""] = 17;
  graph.ir_version = 8;
  graph.inputs.push_back({"x", {DType::f32, to_shape({1, 256, 14, 14})}, {}});
  const auto node = [&](const std::string& op, std::vector<std::string> inputs, const std::string& output,
                        std::map<std::string, Attribute> attributes = {}) {
    graph.nodes.push_back(
        {.name = output, .op_type = op, .inputs = std::move(inputs), .outputs = {output}, .attributes = std::move(attributes)});
    return output;
  };
  graph.initializers["scale"] = Tensor::scalar(0.05F);
  graph.initializers["w_scale"] = Tensor::scalar(0.01F);
  graph.initializers["zero"] = Tensor::scalar(std::uint8_t{128});
  graph.initializers["w_zero"] = Tensor::scalar(std::int8_t{0});
  const auto quantized = [&](const std::string& x) {
    return node("DequantizeLinear", {node("QuantizeLinear", {x, "scale", "zero"}, x + "_q"), "scale", "zero"}, x + "_r");
  };
  std::string x = quantized("x");
  std::int64_t channels = 256;
  for (int i = 0; i < 24; ++i) {
    const std::string own = std::to_string(i);
    const std::int64_t outputs = i % 3 == 1 ? 768 : 256;
    Tensor weights(DType::s8, {outputs, channels, 3, 3});
    channels = outputs;
    for (std::int8_t& w : weights.mutable_values<std::int8_t>()) w = static_cast<std::int8_t>(random() % 255 - 127);
    graph.initializers["w" + own] = std::move(weights);
    const std::string w = node("DequantizeLinear", {"w" + own, "w_scale", "w_zero"}, "w_r" + own);
    x = quantized(node("Conv", {x, w}, "y" + own, {{"pads", std::vector<std::int64_t>{1, 1, 1, 1}}}));
  }
  graph.outputs.push_back({x, {DType::f32, std::nullopt}, {}});
  return graph;
}

// Memory of this process that is in use and no file's.
std::int64_t resident_bytes() {
  malloc_trim(0);
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kilobytes = 0;
    if (word == "RssAnon:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

TEST(MemoryTest, ASessionIsItsPackedWeightsAndItsPlannedMemory) {
  const auto path = std::filesystem::temp_directory_path() / ("memory_test_" + std::to_string(::getpid()) + ".onnx");
  save(convolutions(), path);
  for (const int threads : {1, 2}) {
    const std::int64_t before = resident_bytes();
    Session session(load(path), {.threads = threads});
    const auto own = static_cast<std::int64_t>(session.weight_bytes() + session.arena_bytes());
    EXPECT_GT(session.weight_bytes(), 56U * 256 * 256 * 9);
    EXPECT_LE(resident_bytes() - before, own + own / 10) << threads << " threads: " << session.explain();
  }
  std::filesystem::remove(path);
}

INSTANTIATE_TEST_SUITE_P(Networks, AllocationTest,
                         ::testing::Values("fmnist_dscnn.static.onnx", "fmnist_resnet8.static.onnx", "fmnist_vit.static.onnx",
                                           "fmnist_lstm.static.onnx", "fmnist_vit.dynamic.onnx", "fmnist_lstm.dynamic.onnx"));

}  // namespace
}  // namespace zeropoint
