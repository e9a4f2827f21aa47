// The promise of Session::run into given tensors: no allocation after the first run, in any thread. The test takes the place of
// the C library's allocator. What oneDNN allocates inside of its own calls is its own, and not counted.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

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

INSTANTIATE_TEST_SUITE_P(Networks, AllocationTest,
                         ::testing::Values("fmnist_dscnn.static.onnx", "fmnist_resnet8.static.onnx", "fmnist_vit.static.onnx",
                                           "fmnist_lstm.static.onnx", "fmnist_vit.dynamic.onnx", "fmnist_lstm.dynamic.onnx"));

}  // namespace
}  // namespace zeropoint
