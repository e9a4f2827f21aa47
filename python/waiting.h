// Long work on a thread of its own, so that the caller's thread can watch for Ctrl-C and report progress.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>

namespace zeropoint::python {

class Watch {
 public:
  // progress: None, or called with (done, total) by the caller's thread only; True: a bar of tqdm's, as long as this lives.
  explicit Watch(nanobind::handle progress);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  const std::atomic<bool>* interrupt() const { return &interrupt_; }
  void report(std::size_t done, std::size_t total);  // from any thread

  // Runs `work` on another thread until it is done. Ctrl-C and exceptions of the callback interrupt it and are raised here;
  // what the work throws is thrown here. Needs the GIL, which it releases while waiting.
  void run(const std::function<void()>& work);

 private:
  void call_progress();

  nanobind::object progress_;
  bool own_bar_ = false;
  std::atomic<bool> interrupt_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool finished_ = false, news_ = false;
  std::size_t done_ = 0, total_ = 0;
};

}  // namespace zeropoint::python
