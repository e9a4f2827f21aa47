// Choosing kernels by measuring: docs/engine.md, "Autotune".
#pragma once

#include <optional>
#include <vector>

#include "base/thread_pool.h"
#include "engine/stage.h"
#include "engine/tuning.h"

namespace zeropoint::engine {

// Runs `graph` at these shapes of its inputs, on made-up inputs, with each kernel that a step could have in its place, and
// keeps for each step the one that is clearly fastest, as long as whole runs become faster by it. After `seconds` nothing more
// is tried. Empty where the tables chose best; nothing where the graph cannot run on made-up inputs or memory is short. The
// results of the graph are the same bytes whatever it returns.
std::optional<Tuning> autotune(const Graph& graph, const std::vector<Dims>& dims, const StageOptions& options, ThreadPool& pool,
                               double seconds = 10);

}  // namespace zeropoint::engine
