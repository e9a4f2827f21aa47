// The pipeline from end to end: float graph and samples -> quantized graph and what there is to know about it.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/insert_qdq.h"
#include "zeropoint/passes.h"
#include "zeropoint/qparams.h"
#include "zeropoint/ranges.h"
#include "zeropoint/recipe.h"
#include "zeropoint/report.h"
#include "zeropoint/samples.h"
#include "zeropoint/statistics.h"

namespace zeropoint {

// The float graph that a recipe calibrates: fuse(graph), and the recipe's steps before calibration. Throws Error kBadArgument for
// a recipe with a step that needs samples.
Graph prepare(const Graph& graph, const Recipe& recipe);

// What to observe of a fused graph for a recipe: the values that get a quantizer, and what its steps need. The other fields have
// their defaults.
CalibrateOptions calibrate_options(const Graph& fused, const Recipe& recipe = recipes::static_w8a8());

struct QuantizeOptions {
  int threads = 0;                                           // 0: the physical cores that this process may use
  std::optional<Isa> max_isa;
  std::map<std::string, Dims> shapes;                        // fixes symbolic dimensions of inputs
  std::uint64_t max_memory = 0;                              // bytes, of calibration; 0: no bound
  bool allow_non_finite = false;
  std::function<void(std::size_t done, std::size_t total)> progress;   // of calibration
  std::function<void(std::string_view step, std::size_t done, std::size_t total)> step_progress;  // of steps that take long
  const std::atomic<bool>* interrupt = nullptr;              // becomes true: throw Error kInterrupted
  std::filesystem::path checkpoint;                          // where unfinished calibration is kept; empty: nowhere
  bool resume = false;                                       // go on from the checkpoint, when there is one
  // Inputs to time models with. Not empty: speed-aware, nodes that integers make slower on this machine stay in float, and the
  // model's recipe says which.
  Feeds timed_on;
  // Keep some samples aside, run float and quantized model on them, and repair what breaks it (docs/diagnosis.md).
  bool verify = true;
  std::filesystem::path folder;                              // for weights that don't fit into memory; empty: the system's
};

struct Quantized {
  Graph model;                                               // with recipe, version and statistics hash in its metadata
  Graph fused;                                               // the float graph that was calibrated
  QParamsMap qparams;
  Statistics statistics;
  Report report;                                             // without what only running the models shows: see compare()
  std::vector<std::string> preparation_notes;                // those of its notes that steps before calibration left
};

// fuse -> the recipe's steps before calibration -> calibrate -> choose_qparams -> its other steps -> insert_qdq -> verify, then
// the self check: Report::self_check says whether the model is sound, and the recipe in its metadata what was repaired.
// Throws Error.
Quantized quantize(const Graph& graph, const Samples& samples, const Recipe& recipe = recipes::static_w8a8(),
                   const QuantizeOptions& options = {});
// The same for recipes that need no samples (dynamic activations, weights alone): fuse -> rewrite -> verify. Statistics and
// qparams stay empty. Throws Error kBadArgument for a recipe that needs samples.
Quantized quantize(const Graph& graph, const Recipe& recipe, const QuantizeOptions& options = {});
// The same from statistics that calibrate() took of prepare(graph, recipe) with at least the values of calibrate_options().
// Throws Error kBadArgument for a recipe with a step that needs samples.
Quantized quantize(const Graph& graph, const Statistics& statistics, const Recipe& recipe = recipes::static_w8a8(),
                   const QuantizeOptions& options = {});

// Metadata of quantized files.
inline constexpr char kRecipeKey[] = "zeropoint.recipe";               // JSON
inline constexpr char kVersionKey[] = "zeropoint.version";
inline constexpr char kStatisticsKey[] = "zeropoint.statistics";       // statistics_hash

}  // namespace zeropoint
