// A fixed team of threads for short parallel regions.
//
// run(task) calls task(part) once for each of `threads()` parts and returns when all are done. Worker p takes part p, worker 0
// being the caller; who is done with its own takes those whose worker has not begun. So a thread that sleeps or has lost its
// core to other work holds nobody up, and results never depend on who ran what. Workers spin for some microseconds between
// regions and then sleep. Inside a region every worker has the default floating-point environment (round to nearest even, no
// flush to zero), whatever the caller had; the caller's is restored. One region at a time: not for use by two threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace zeropoint {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // throws Error kLimit when the system gives fewer
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  template <class Task>
  void run(const Task& task) noexcept {
    run(const_cast<void*>(static_cast<const void*>(&task)),
        [](void* context, int part) { (*static_cast<const Task*>(context))(part); });
  }

 private:
  using Call = void (*)(void* context, int part);
  // The number of the last region in which this part was taken; a line of its own, since neighbours are taken at once.
  struct alignas(64) Part {
    std::atomic<std::uint32_t> taken{0};
  };
  void run(void* context, Call call) noexcept;
  void work(int worker) noexcept;
  void take_parts(int first, std::uint32_t region) noexcept;
  void stop() noexcept;

  std::vector<std::thread> workers_;
  std::vector<Part> parts_;
  void* context_ = nullptr;  // these two stand still while a part of their region is not done
  Call call_ = nullptr;
  alignas(64) std::atomic<std::uint32_t> region_{0};
  alignas(64) std::atomic<std::uint32_t> unfinished_{0};
  std::atomic<bool> stop_{false};
};

// The part of [0, count) that belongs to `worker` of `workers`, in multiples of `grain` (but the last).
struct Range64 {
  std::int64_t begin, end;
};
Range64 partition(std::int64_t count, int worker, int workers, std::int64_t grain = 1);

}  // namespace zeropoint
