// Samples out of Python: a path, a sequence, or anything that can be iterated.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/samples.h"

namespace zeropoint::python {

namespace nb = nanobind;

class Watch;

// What zeropoint.open_samples returns.
struct OpenedSamples {
  std::shared_ptr<const Samples> samples;
};

// Samples for one call. What a sequence's __getitem__ raised on a worker's thread is kept and raised again by the caller.
class SampleSource {
 public:
  // OpenedSamples; a path; an object with len() and indexing, read when needed (from any thread, under the GIL); anything else
  // that can be iterated, read into memory once. TypeError for others.
  // Labels, where given, take the place of the source's own.
  SampleSource(nb::handle source, const std::vector<ValueInfo>& inputs,
               const std::optional<std::vector<std::int64_t>>& labels = std::nullopt);
  const Samples& get() const { return *samples_; }
  void run(Watch& watch, const std::function<void()>& work);  // watch.run(work) that reads these samples
  void rethrow_failure();                                     // what Python raised while they were read, if it did

 private:
  struct Failure {
    std::mutex mutex;
    std::exception_ptr first;
  };
  class Sequence;
  class Labelled;
  std::shared_ptr<const Samples> samples_;
  std::shared_ptr<Failure> failure_ = std::make_shared<Failure>();
};

}  // namespace zeropoint::python
