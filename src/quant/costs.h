// What nodes cost in our engine, in float and in integers, by a table of measured figures (cost_table.h): the same numbers on
// every machine, so that a decision made by them is the same, too.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>

#include "quant/choose_by_speed.h"
#include "quant/placement.h"

namespace zeropoint::quant {

// Microseconds on one core.
struct Cost {
  double in_float = 0, in_integers = 0;
};

// Costs over up to three sizes; axes ascend, the last runs fastest in `costs`.
struct CostGrid {
  std::span<const double> m, n, k;
  std::span<const Cost> costs;
};
// Between points: linear in logarithms along each axis. Below the first point: as there; beyond the last: in proportion.
Cost interpolate(const CostGrid& grid, double m, double n = 1, double k = 1);

// Of the nodes of a typed graph at its shapes, open first dimensions of inputs taken as 1. Nodes whose shapes stay open, and
// operators that the table does not know, cost nothing either way.
class NodeCosts {
 public:
  explicit NodeCosts(const Graph& graph);

  NodeTimes in_float() const;
  // As `placement` puts quantizers; `in_integers` has those whose cost is known. A node in integers pays for what turns its
  // inputs into integers (shared with the others that read them) and its result into floats again.
  NodeTimes quantized(const Placement& placement) const;

 private:
  struct Sized {
    Cost cost;
    bool fused = false;  // into the node before it: Relu, Clip, a MatMul's bias
  };
  std::optional<double> elements(const std::string& value) const;
  std::optional<Dims> dims(const std::string& value) const;
  Sized size(const Node& node) const;
  Cost weighted(const Node& node) const;
  const Node* maker(const std::string& value) const;
  bool is_bias_add(const Node& node) const;

  Graph graph_;  // with shapes
  ValueIndex values_;
  Uses uses_;
  std::vector<Sized> nodes_;
};

}  // namespace zeropoint::quant
