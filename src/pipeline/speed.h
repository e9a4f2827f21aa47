// Speed-aware quantization: what integers make slower on this machine stays in float.
#pragma once

#include <atomic>
#include <functional>
#include <vector>

#include "zeropoint/quantize.h"
#include "zeropoint/session.h"

namespace zeropoint {

struct SpeedChoice {
  Recipe recipe;  // the given one, with a rule for each node that stays in float
  SpeedReport report;
};

// `quantize` makes the integer model of `fused` by a recipe. Whole models are timed in turns, so that the choice never is
// slower than what it began with; nodes are proposed by their own times and those of the conversions around them. Throws what
// `quantize` and Session throw; kInterrupted.
SpeedChoice choose_by_speed(const Graph& fused, const Recipe& recipe, const std::function<Graph(const Recipe&)>& quantize,
                            const Feeds& feeds, const SessionOptions& options, const std::atomic<bool>* interrupt);

}  // namespace zeropoint
