// The fastest or smallest quantized model within a budget of accuracy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "zeropoint/metric.h"
#include "zeropoint/quantize.h"

namespace zeropoint {

// What a model must reach: one of the two.
struct Budget {
  std::optional<double> max_drop;  // worse than the float model by at most this (percent: points)
  std::optional<double> limit;     // at least this value; at most, where less is better
};

enum class Objective : std::uint8_t { fastest, smallest };

struct BudgetOptions {
  QuantizeOptions quantize;
  Objective objective = Objective::fastest;
  Feeds timed_on;                                // what models are timed on; empty: they are not, and the smallest wins
  std::filesystem::path cache;                   // holds what was tried until the search ends; empty: nothing does
  bool resume = false;                           // go on from the cache, when there is one
  std::size_t most_evaluations = 40;             // of the metric
  std::function<void(const TriedModel&)> tried;  // called after each
};

// Tries levels in turn: fp16, `recipe`, dynamic_w8a8, and, for the smallest, static_w4a8; what `recipe` keeps in float stays so.
// `recipe` and static_w4a8, where they miss the budget, are tried with the step gptq, then with their most sensitive nodes at the
// level above (float above `recipe`): how many is found by bisection. Of all that was tried within the budget the fastest, or
// smallest, is the result; Report::budget has the others. The model's own recipe makes the same file from the same samples without
// a search or a check (verify = false). Calibrates on `samples`; the metric had better look at others. When none meets
// the budget the result is the best by the metric, and Report::budget->met is false. Throws Error: kBadArgument for a budget of
// none or of both, or a drop from a value that is not finite; kMismatch for a cache of another search; what quantize() and the
// metric throw.
Quantized quantize_within(const Graph& graph, const Samples& samples, const Metric& metric, const Budget& budget,
                          const Recipe& recipe = recipes::static_w8a8(), const BudgetOptions& options = {});

}  // namespace zeropoint
