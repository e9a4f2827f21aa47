// Inspection: what a model is, what quantization would do to it, and how the engine runs it, as a value.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/recipe.h"
#include "zeropoint/report.h"
#include "zeropoint/session.h"

namespace zeropoint {

struct OperatorCount {
  std::string op_type;                      // with its domain, where it has one
  std::int64_t count = 0, in_bodies = 0;    // of these, inside bodies of If, Loop and Scan
  std::optional<std::int64_t> macs;         // of all of them; nothing where shapes stay unknown
  bool known = true;                        // this version can run it
};

// Bytes of all constants when the weights are stored this way.
struct SizeAt {
  std::string format;                       // "fp32", "int8", "int4 g128"
  int bits = 32;                            // of a weight
  int group = 0;                            // weights that share a scale; 0: a scale for each channel, or none
  std::uint64_t bytes = 0;
};

// What `quantize` would do, from the graph alone.
struct PlannedQuantization {
  std::string recipe;
  Target target = Target::onnxruntime;
  std::string refused;                      // why it would do nothing; the rest is then empty
  std::optional<double> integer_coverage;   // share of multiply-accumulates in integers, 0 ... 1
  std::map<std::string, std::int64_t> integer_operators;  // that multiply in integers, by type
  std::map<std::string, std::int64_t> weight_operators;   // that store their weights as integers and compute in float
  std::int64_t activations = 0;             // values that get a quantizer
  std::vector<FloatNode> left_in_float;
};

struct EnginePath {
  std::int64_t steps = 0, macs = 0;
  std::map<std::string, std::int64_t> operators;
};
struct EngineSupport {
  std::string refused;                      // why the engine cannot run it; the rest is then empty
  EnginePath integer, floating, reference;  // reference: readable loops, slow
  std::vector<FloatNode> slow;              // steps with a reason why they are not faster
};

struct Inspection {
  std::int64_t opset = 0, ir_version = 0, nodes = 0;   // nodes of the graph itself, bodies not counted
  std::map<std::string, std::int64_t> opsets;          // of all domains
  std::map<std::string, std::string> metadata;
  std::vector<ValueInfo> inputs, outputs;
  std::vector<OperatorCount> operators;                // most frequent first
  std::int64_t parameters = 0, quantizable_parameters = 0;  // elements of constants; of weights that can become integers
  std::uint64_t parameter_bytes = 0;
  std::map<std::string, std::uint64_t> bytes_by_type;  // of constants
  std::int64_t macs = 0;
  bool macs_complete = true;                           // false: some shapes stay unknown
  std::map<std::string, Dims> assumed;                 // inputs whose open dimensions were taken as 1
  std::vector<SizeAt> sizes;
  bool quantized = false;                              // it holds quantized operators
  std::optional<PlannedQuantization> plan;             // where asked for, of float models
  std::optional<EngineSupport> engine;                 // where asked for
};

struct InspectOptions {
  std::map<std::string, Dims> shapes;                  // fixes open dimensions of inputs; others count as 1
  std::optional<Recipe> recipe;                        // plan its quantization
  bool engine = false;                                 // compile it
  std::optional<Isa> max_isa;                          // of the engine
};
// Reads no weights unless a plan or the engine is asked for. Throws Error kBadShape for shapes that don't fit the model.
Inspection inspect(const Graph& graph, const InspectOptions& options = {});

struct InspectionText {
  bool all = false;                                    // lists in full; else the first of each and how many more
  bool sizes = false;                                  // sizes at each width alone
};
std::string to_text(const Inspection& inspection, const InspectionText& options = {});
std::string to_json(const Inspection& inspection);

}  // namespace zeropoint
