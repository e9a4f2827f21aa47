#include "base/thread_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <cfenv>
#include <system_error>

#include "zeropoint/error.h"

namespace zeropoint {
namespace {

constexpr int kSpins = 4000;  // 20 to 60 us: longer than the gap between two operators, shorter than a time slice

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() { std::fesetenv(&saved_); }

 private:
  std::fenv_t saved_;
};

}  // namespace

ThreadPool::ThreadPool(int threads) : parts_(static_cast<std::size_t>(std::max(1, threads))) {
  workers_.reserve(static_cast<std::size_t>(std::max(0, threads - 1)));
  try {
    for (int worker = 1; worker < threads; ++worker) workers_.emplace_back([this, worker] { work(worker); });
  } catch (const std::system_error& error) {
    const std::size_t started = workers_.size() + 1;
    stop();
    throw Error(ErrorCode::kLimit, "threads", fmt::format("could start {} of {}: {}", started, threads, error.what()));
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() noexcept {
  stop_ = true;
  region_.fetch_add(1);
  region_.notify_all();
  for (auto& worker : workers_) worker.join();
}

void ThreadPool::run(void* context, Call call) noexcept {
  const DefaultFloatEnvironment environment;
  if (workers_.empty()) return call(context, 0);
  context_ = context;
  call_ = call;
  unfinished_.store(static_cast<std::uint32_t>(parts_.size()), std::memory_order_relaxed);
  const std::uint32_t region = region_.fetch_add(1, std::memory_order_release) + 1;
  region_.notify_all();
  take_parts(0, region);
  for (int spin = 0; spin < kSpins && unfinished_.load(std::memory_order_acquire) != 0; ++spin) relax();
  for (std::uint32_t left; (left = unfinished_.load(std::memory_order_acquire)) != 0;) unfinished_.wait(left);
}

// A region ends when each part was taken in it, so a worker that comes late finds this or a later number everywhere and leaves.
void ThreadPool::take_parts(int first, std::uint32_t region) noexcept {
  const int count = threads();
  for (int i = 0; i < count; ++i) {
    const int part = first + i < count ? first + i : first + i - count;
    auto& taken = parts_[static_cast<std::size_t>(part)].taken;
    std::uint32_t last = taken.load(std::memory_order_relaxed);
    if (last != region - 1 || !taken.compare_exchange_strong(last, region, std::memory_order_acquire)) continue;
    call_(context_, part);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1 && first != 0) unfinished_.notify_one();
  }
}

void ThreadPool::work(int worker) noexcept {
  std::fesetenv(FE_DFL_ENV);
  std::uint32_t seen = 0;
  while (true) {
    for (int spin = 0; spin < kSpins && region_.load(std::memory_order_acquire) == seen; ++spin) relax();
    while (region_.load(std::memory_order_acquire) == seen) region_.wait(seen);
    seen = region_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    take_parts(worker, seen);
  }
}

Range64 partition(std::int64_t count, int worker, int workers, std::int64_t grain) {
  const std::int64_t blocks = (count + grain - 1) / grain;
  const auto edge = [&](std::int64_t part) { return std::min(count, blocks * part / workers * grain); };
  return {edge(worker), edge(worker + 1)};
}

}  // namespace zeropoint
