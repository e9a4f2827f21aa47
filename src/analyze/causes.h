// Why a node loses: classes of causes, each with the figures that show it and a fix. docs/diagnosis.md explains the thresholds.
#pragma once

#include <string>

#include "analyze/node_noise.h"
#include "zeropoint/qparams.h"
#include "zeropoint/recipe.h"
#include "zeropoint/statistics.h"

namespace zeropoint::analyze {

struct Diagnosis {
  std::string cause;    // outlier_range, wide_channel_spread, clipped_bias, mixed_concat, depthwise_few_levels, saturation,
                        // mask_value, recurrent, index_or_byte_input, accumulating_drift
  std::string figures;  // what was seen
  std::string fix;      // in words
  std::string recipe;   // the fix as a rule or step, JSON on one line; empty: none
};

struct Patient {
  const Graph& graph;  // float, fused
  const Statistics& statistics;
  const QParamsMap& qparams;  // of its activations and weights
  const quant::Placement& placement;
  const Recipe& recipe;
};
// The node's worst source decides.
Diagnosis diagnose(const Patient& patient, const NodeNoise& node, const Noise& noise);

// Rules that end all others for this node: with activations of 16 bits and its weights as before; in float.
Rule wide_rule(const Graph& graph, std::size_t node, const Recipe& recipe);
Rule float_rule(const Graph& graph, std::size_t node);
std::string to_json(const Rule& rule);  // on one line

}  // namespace zeropoint::analyze
