// Sensitivity: which nodes make a quantized model lose what it loses, why, and what to do about each.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"
#include "zeropoint/report.h"
#include "zeropoint/samples.h"
#include "zeropoint/statistics.h"

namespace zeropoint {

struct SensitivityOptions {
  int threads = 0;                                           // 0: the physical cores that this process may use
  std::optional<Isa> max_isa;
  std::map<std::string, Dims> shapes;                        // fixes symbolic dimensions of inputs
  std::size_t samples = 4;                                   // to measure on, spread over those given
  std::size_t restored = 8;                                  // of how many of the worst nodes the model is made anew without them
  std::uint64_t max_memory = 0;                              // bytes, of calibration; 0: no bound
  bool allow_non_finite = false;
  std::function<void(std::size_t done, std::size_t total)> progress;
  const std::atomic<bool>* interrupt = nullptr;              // becomes true: throw Error kInterrupted
};

struct Sensitivity {
  std::string recipe;
  std::uint64_t samples = 0;
  double sqnr_db = 0;                                        // at the outputs, of the model with every node quantized
  std::size_t sources = 0, measured = 0;                     // quantizers and weights, and of how many the loss was measured
  std::vector<NodeSensitivity> nodes;                        // the worst first
};
std::string to_text(const Sensitivity& sensitivity, std::optional<std::size_t> most = std::nullopt);
std::string to_json(const Sensitivity& sensitivity);

// Quantizes by the recipe, then runs the float model with the errors of one quantizer at a time (docs/diagnosis.md). A node's
// own loss is that of the values that it decides about (by its rule in the recipe) and of its weights. The `restored` worst
// nodes are then kept in float, one at a time; what the others would give back is estimated.
// With statistics (of an earlier calibrate()) nothing is calibrated. Throws what quantize() throws.
Sensitivity sensitivity(const Graph& graph, const Samples& samples, const Recipe& recipe = recipes::static_w8a8(),
                        const SensitivityOptions& options = {});
Sensitivity sensitivity(const Graph& graph, const Statistics& statistics, const Samples& samples,
                        const Recipe& recipe = recipes::static_w8a8(), const SensitivityOptions& options = {});

}  // namespace zeropoint
