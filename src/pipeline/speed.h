// Speed-aware quantization: what integers make slower on this machine stays in float.
#pragma once

#include <atomic>
#include <functional>
#include <utility>
#include <vector>

#include "zeropoint/quantize.h"
#include "zeropoint/session.h"

namespace zeropoint {

struct SpeedChoice {
  Recipe recipe;  // the given one, with a rule for each node that stays in float
  SpeedReport report;
};

// How models are timed.
struct Timing {
  std::function<std::vector<StepInfo>(const Graph&)> steps;                      // with the seconds of a run
  std::function<std::pair<double, double>(const Graph&, const Graph&)> compare;  // seconds of a run of each
};
// By runs on `feeds`, which must live as long; two models in turns. Error kInterrupted.
Timing on_this_machine(const Feeds& feeds, const SessionOptions& options, const std::atomic<bool>* interrupt);

// `quantize` makes the integer model of `fused` by a recipe. A node's time is that of its own steps and of the conversions
// around them (quant/choose_by_speed.h). Throws what `quantize` and `timing` throw.
SpeedChoice choose_by_times(const Graph& fused, const Recipe& recipe, const std::function<Graph(const Recipe&)>& quantize,
                            const Timing& timing);

}  // namespace zeropoint
