#include "waiting.h"

#include <chrono>
#include <thread>
#include <utility>

namespace zeropoint::python {

namespace nb = nanobind;

Watch::Watch(nb::handle progress) : progress_(nb::borrow(progress)), own_bar_(progress.is(Py_True)) {
  if (own_bar_) progress_ = nb::module_::import_("zeropoint._progress").attr("Bar")();
  if (progress.is(Py_False)) progress_ = nb::none();
}

Watch::~Watch() {
  if (own_bar_) {
    try {
      progress_.attr("close")();
    } catch (nb::python_error& error) {  // what is reported is the work's own end
      error.discard_as_unraisable("closing a progress bar");
    }
  }
}

void Watch::report(std::size_t done, std::size_t total) {
  const std::lock_guard lock(mutex_);
  done_ = done;
  total_ = total;
  news_ = true;  // seen at the next turn of run(): a callback for each sample could cost more than the sample
}

void Watch::call_progress() {
  std::size_t done = 0, total = 0;
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(news_, false)) return;
    done = done_;
    total = total_;
  }
  if (!progress_.is_none()) progress_(done, total);
}

void Watch::run(const std::function<void()>& work) {
  std::exception_ptr failed, interrupted;
  std::thread worker([&] {
    try {
      work();
    } catch (...) {
      failed = std::current_exception();
    }
    const std::lock_guard lock(mutex_);
    finished_ = true;
    changed_.notify_one();
  });
  for (bool finished = false; !finished;) {
    {
      nb::gil_scoped_release release;
      std::unique_lock lock(mutex_);
      finished = changed_.wait_for(lock, std::chrono::milliseconds(50), [&] { return finished_; });
    }
    if (interrupted) continue;
    try {
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
      call_progress();
    } catch (...) {
      interrupted = std::current_exception();
      interrupt_ = true;
    }
  }
  {
    nb::gil_scoped_release release;
    worker.join();
  }
  if (interrupted) std::rethrow_exception(interrupted);
  if (failed) std::rethrow_exception(failed);
}

}  // namespace zeropoint::python
