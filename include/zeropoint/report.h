// Report: what quantization cost and gained.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "zeropoint/cpu.h"
#include "zeropoint/graph.h"
#include "zeropoint/samples.h"
#include "zeropoint/session.h"
#include "zeropoint/steps.h"
#include "zeropoint/tensor.h"

namespace zeropoint {

// How far y (quantized) lies from x (float), over all elements of all samples.
struct ErrorMetrics {
  std::uint64_t count = 0;                                   // elements
  double sqnr_db = 0;                                        // 10 log10(sum x^2 / sum (x - y)^2); infinity when equal
  double cosine = 1;                                         // of the two as vectors
  double mean_abs = 0, max_abs = 0, mean_square = 0;         // of x - y
};

struct OutputMetrics {
  std::string name;
  ErrorMetrics error;
  // Of outputs [N, classes] with at least 2 (top 1) and 6 (top 5) classes: share of rows whose largest element stands at the
  // same place, and whose float winner is among the quantized five largest. The first of equals wins.
  std::uint64_t rows = 0;
  std::optional<double> top1_agreement, top5_agreement;
};

struct ValueMetrics {
  std::string value;                                         // name in the float graph
  std::string node;                                          // that makes it; empty for an input
  ErrorMetrics error;
  double saturated = 0;                                      // share at the quantizer's limits, though beyond them in float
  double dead = 0;                                           // share that became 0 and was not
};

// What one node costs the whole model.
struct NodeSensitivity {
  std::string node, op_type;
  double alone_db = 0;                                       // SQNR of the outputs with only this node quantized
  double values_db = 0, weights_db = 0;                      // of it, by its activations and by its weights
  double share = 0;                                          // of the noise of all nodes, by power, 0 ... 1
  double restored_db = 0;                                    // SQNR of the outputs with all nodes quantized but this
  bool measured = false, restored_measured = false;          // else estimated
  double macs_share = 0;                                     // of the multiply-accumulates, 0 ... 1
  std::string cause;                                         // docs/diagnosis.md
  std::string figures;                                       // that show it
  std::string fix;                                           // in words
  std::string recipe;                                        // the fix as a rule or step of a recipe, JSON; empty: none
};

// What quantize() changed because the model lost too much.
struct Repair {
  std::string node, op_type;
  std::string cause;                                         // docs/diagnosis.md
  std::string action;                                        // "16-bit activations", "float", ...
  double before_db = 0, after_db = 0;                        // SQNR of the outputs around the round of repairs that it was part of
};

// Float and quantized model side by side, before and after repairs.
struct SelfCheck {
  std::uint64_t samples = 0;                                 // that both ran on
  std::uint64_t calibrated_on = 0;
  bool kept_aside = false;                                   // the samples of the check were not calibrated on
  bool sound = true;
  std::string reason;                                        // why it is not sound, or why there was no check
  double sqnr_db = 0;                                        // of the worst output
  double before_db = 0;                                      // the same before repairs
  double least_db = 0;                                       // from which on a model counts as sound
  std::optional<double> top1_agreement;
};

// Against labels.
struct Accuracy {
  std::uint64_t samples = 0;
  double top1 = 0;                                           // share, 0 ... 1
  std::optional<double> top5;                                // with at least 6 classes
  friend bool operator==(const Accuracy&, const Accuracy&) = default;
};

struct FloatNode {
  std::string node, op_type, reason;
};

// One node, timed on the machine that quantized.
struct NodeSpeed {
  std::string node, op_type;
  double float_seconds = 0, integer_seconds = 0;             // integers: with the conversions around it
};
struct SpeedReport {
  double float_seconds = 0, seconds = 0;                     // of a run: of the float model, of the one that was chosen
  std::vector<NodeSpeed> kept_float;                         // slower in integers, the worst first
};

// One operator of the quantized model.
struct NodeReport {
  std::string node, op_type;                                 // "Conv+Clip" where one step does several
  std::string value;                                         // quantized value that it makes, as in `values`; empty: none
  bool integer = false;                                      // multiplies or moves integers
  std::int64_t macs = 0;                                     // 0 also where shapes are unknown
  std::optional<double> float_seconds, seconds;              // of the float and of the quantized model, where measured
};

// What one activation held, and the range that was chosen for it.
struct ValueDistribution {
  static constexpr std::size_t kBins = 64;                   // at most

  std::string value;                                         // name in the float graph
  std::string node;                                          // that makes it; empty for an input
  std::uint64_t count = 0;                                   // finite elements
  double min = 0, max = 0;
  std::vector<std::uint64_t> histogram;                      // bins of equal width from min to max
  DType dtype = DType::u8;                                   // of the quantized value, and the reals that it holds
  double scale = 1;
  std::int32_t zero_point = 0;
  double low = 0, high = 0;
  double clipped = 0;                                        // share of elements more than half a step outside, 0 ... 1
};

// Seconds of one run: the fastest of many, the two models in turns.
struct Latency {
  double float_seconds = 0, seconds = 0;
  int threads = 1;
  std::string isas;                                          // that kernels were allowed
};

// One model that a search within a budget made and judged.
struct TriedModel {
  std::string label;                                         // "static_w8a8, 3 nodes in float"
  std::string recipe;                                        // JSON
  double value = 0;                                          // of the metric
  std::uint64_t bytes = 0;                                   // of all constants
  double seconds = 0, float_seconds = 0;                     // of a run, and of the float model's in turns with it; 0: not timed
  bool within = false, pareto = false, chosen = false;       // the budget; nothing tried is better in all of value, size and time
};
struct BudgetReport {
  std::string metric;
  bool larger_is_better = true, met = false;
  double float_value = 0, limit = 0;                         // limit: the worst value within the budget
  std::uint64_t float_bytes = 0;
  std::vector<TriedModel> tried;                             // in the order in which they were tried
};

struct Report {
  // Of the quantized model.
  std::string model;                                         // file name of the float model; empty when unknown
  std::string recipe;                                        // its name; empty when unknown
  std::string recipe_json;                                   // the whole of it, as the model's metadata hold it
  std::string command;                                       // that wrote this report; empty when no command did
  std::uint64_t float_bytes = 0, quantized_bytes = 0;        // of all constants
  std::optional<double> integer_coverage;                    // share of multiply-accumulates in integers, 0 ... 1
  std::vector<FloatNode> left_in_float;                      // from quantize(): all nodes; compare(): those that multiply
  std::vector<std::string> notes;
  std::vector<StepGain> steps;                               // of the recipe's steps, in the order in which they ran
  std::optional<SpeedReport> speed;                          // of speed-aware quantization
  std::vector<NodeReport> nodes;                             // in order
  std::vector<ValueDistribution> distributions;              // of quantized activations, in the order of the float graph
  std::optional<Latency> latency;                            // where measured
  std::optional<BudgetReport> budget;                        // of quantize_within()
  std::optional<SelfCheck> self_check;                       // of quantize()
  std::vector<Repair> repairs;                               // that the self check called for
  std::vector<NodeSensitivity> sensitivity;                  // the worst nodes first; where they were looked for
  // Of running both models.
  std::uint64_t samples = 0;
  std::vector<OutputMetrics> outputs;
  std::vector<ValueMetrics> values;                          // in the order of the float graph; where asked for
  std::optional<Accuracy> float_accuracy, quantized_accuracy;  // where samples have labels
};
std::string to_text(const Report& report);
std::string to_json(const Report& report);
// One HTML page that needs nothing beside it, with the JSON in it (docs/report.md).
std::string to_html(const Report& report);
// The same of what to_json() gave. Throws Error kBadFile for text that is no such report.
std::string to_html(const std::string& json, const std::string& where);

struct CompareOptions {
  int threads = 0;                                           // 0: the physical cores that this process may use
  std::optional<Isa> max_isa;
  std::map<std::string, Dims> shapes;                        // fixes symbolic dimensions of inputs
  bool values = false;                                       // compare the values on the way, too
  std::function<void(std::size_t done, std::size_t total)> progress;
  const std::atomic<bool>* interrupt = nullptr;              // becomes true: throw Error kInterrupted
};

// Runs both models over the samples. Inputs and outputs must have the same names. With `values`, each DequantizeLinear of an
// activation is compared with the float value that was quantized there (by name: insert_qdq's `x_dequantized` with `x`).
// Throws Error: kMismatch when the models don't belong together, kBadSample.
Report compare(const Graph& float_graph, const Graph& quantized, const Samples& samples, const CompareOptions& options = {});

// Share of samples whose label is the place of the largest element of the first output. Throws Error kBadSample when a sample
// has no label, kBadShape when the output is not [1, classes].
Accuracy evaluate(const Graph& graph, const Samples& samples, const CompareOptions& options = {});
// The same on a session that is there already; of the options, interrupt and progress hold.
Accuracy evaluate(Session& session, const Samples& samples, const CompareOptions& options = {});

std::uint64_t constant_bytes(const Graph& graph);

}  // namespace zeropoint
