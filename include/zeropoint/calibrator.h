// Calibrator: calibrate() for set after set of samples, as the shards that a worker of a cluster is handed.
#pragma once

#include <atomic>
#include <memory>

#include "zeropoint/statistics.h"

namespace zeropoint {

class Calibrator {
 public:
  // `options` as of calibrate(), without shard, checkpoint, resume and max_memory.
  explicit Calibrator(Graph graph, CalibrateOptions options = {});
  ~Calibrator();
  Calibrator(Calibrator&&) noexcept;
  Calibrator& operator=(Calibrator&&) noexcept;

  const Graph& graph() const;
  // What calibrate(graph, samples, options) gives. Sessions and packed weights are made by the first call and kept, also when a
  // call throws. One call at a time. interrupt, where given, becomes true: throw Error kInterrupted.
  Statistics calibrate(const Samples& samples, const std::atomic<bool>* interrupt = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace zeropoint
