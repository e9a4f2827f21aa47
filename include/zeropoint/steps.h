// Steps: algorithms that a recipe runs on the whole graph, before or after calibration; what they may use and what they gained.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/cpu.h"
#include "zeropoint/tensor.h"

namespace zeropoint {

// What a step gained: one figure before and after it, the mean over the layers that it touched where nothing else is said.
struct StepGain {
  std::string step;                                          // name in the recipe
  std::string what;                                          // "outputs of 20 layers"
  std::string unit;                                          // of both figures: "dB" (higher is better), "mean |shift|" (lower)
  double before = 0, after = 0;
};

// For the report.
struct StepLog {
  std::vector<StepGain> gains;
  std::vector<std::string> notes;
};

// How a step that runs the network does it.
struct StepOptions {
  int threads = 0;                                           // 0: the physical cores that this process may use
  std::optional<Isa> max_isa;
  std::map<std::string, Dims> shapes;                        // fixes symbolic dimensions of inputs
  std::uint64_t max_memory = 0;                              // bytes; 0: no bound
  std::function<void(std::string_view step, std::size_t done, std::size_t total)> progress;  // layers
  const std::atomic<bool>* interrupt = nullptr;              // becomes true: throw Error kInterrupted
};

}  // namespace zeropoint
