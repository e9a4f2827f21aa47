// The table of steps: what recipes may name, with which parameters, and the functions behind the names.
#pragma once

#include <set>
#include <span>
#include <string>
#include <string_view>

#include "quant/placement.h"
#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"
#include "zeropoint/recipe.h"
#include "zeropoint/samples.h"
#include "zeropoint/statistics.h"
#include "zeropoint/steps.h"

namespace zeropoint::quant {

// The order in which steps run, whatever the recipe's; steps of one phase run in the recipe's order.
enum class Phase : std::uint8_t {
  before,      // calibration: changes the float graph, not its function
  rounding,    // chooses integers for weights, given scales
  correction,  // of what quantization makes on average, once the weights are chosen
};

struct StepParameter {
  std::string_view name;
  double fallback, least, most;
  bool whole;  // takes whole numbers alone
  std::string_view what;
};

// What a step may use besides the graph.
struct StepContext {
  const Recipe& recipe;
  const Samples* samples;  // null where only statistics are given; never for steps that need samples
  const StepOptions& options;
  StepLog& log;
};

// A graph on its way to integers.
struct Rounding {
  const Graph& original;  // float weights and biases, as calibrated
  const Statistics& statistics;
  Graph graph;  // the same nodes, with weights that a step rounded (on the grid of `qparams`) and corrected biases
  QParamsMap qparams;
  std::set<std::string> corrected = {};  // outputs of nodes whose biases take in what their weights and inputs do on average
};

using BeforeStep = Graph (*)(Graph graph, const Step& step, const StepContext& context);
using AfterStep = void (*)(Rounding& rounding, const Step& step, const StepContext& context);

struct StepRule {
  std::string_view name;
  Phase phase;
  bool needs_samples;  // statistics do not suffice
  std::span<const StepParameter> parameters;
  std::string_view what;
  BeforeStep before = nullptr;  // of Phase::before
  AfterStep after = nullptr;    // of the others
};
std::span<const StepRule> step_rules();
const StepRule* find_step(std::string_view name);
double parameter(const Step& step, std::string_view name);  // or its default

// Throws Error kBadArgument naming a step that needs samples, where there are none.
void check_samples(const Recipe& recipe, const Samples* samples);
Graph run_before(Graph graph, const StepContext& context);
// Throws Error kBadArgument for a step that needs samples without samples.
void run_after(Rounding& rounding, const StepContext& context);

}  // namespace zeropoint::quant
