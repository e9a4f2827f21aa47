// Where the channels of values can be multiplied by positive factors without changing what the network computes: the nodes that
// make the values and those that read them take the factors into their constants, and all between keeps factors as they are.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "zeropoint/graph.h"

namespace zeropoint::quant {

// A constant of which element i belongs to a channel.
struct ScaledConstant {
  std::size_t node = 0, input = 0;
  std::size_t inner = 1, outer = 1;  // i / inner % outer is the place along the channels' axis
  std::size_t group_elements = 0;    // of one group of a convolution; 0: no groups
  std::size_t repeat = 1;            // neighbouring places that are one channel (behind a Flatten)
  bool multiply = false;             // by the factors; else divide
  bool weight = false;               // of a Conv, ConvTranspose, Gemm or MatMul
  Dims widened;                      // to which it is broadcast first; empty: it stays

  std::size_t channel(std::size_t i) const {
    return (i / inner % outer + (group_elements == 0 ? 0 : i / group_elements * outer)) / repeat;
  }
};

// Values that share their factors: with s[c] for channel c every value v becomes v[c] / s[c].
struct ScalingGroup {
  struct Value {
    std::string name;
    std::size_t axis = 0, repeat = 1;  // the axis has channels * repeat places
    friend bool operator==(const Value&, const Value&) = default;
  };
  std::size_t channels = 0;
  std::vector<Value> values;         // in the order in which they were found
  std::vector<std::size_t> makers;   // nodes that take 1 / s into their constants
  std::vector<std::size_t> readers;  // nodes that take s in
  std::vector<std::size_t> between;  // nodes that keep factors as they are
  std::vector<std::size_t> limits;   // of those the Clips with an upper limit: it stays, so factors must keep clear of it
  std::vector<ScaledConstant> constants;
};

// A group, or why there is none (then `group.values` are those that have none for this reason).
struct ScalingAttempt {
  ScalingGroup group;
  std::string obstacle;  // empty: there is
};

class ChannelScaling {
 public:
  explicit ChannelScaling(const Graph& graph);  // with all types inferred, as fuse() leaves it; must stay as it is
  // The group of a value along an axis.
  ScalingAttempt find(const std::string& value, std::size_t axis) const;
  // The groups of all first inputs of Conv, ConvTranspose, Gemm and MatMul by constants, in the order of nodes, each once, and
  // why others have none (value, reason).
  struct All {
    std::vector<ScalingGroup> groups;
    std::vector<std::pair<std::string, std::string>> refused;
  };
  All all() const;

 private:
  const Graph& graph_;
  ValueIndex types_;
  Uses uses_;
};

// Whether a node is a Conv, ConvTranspose, Gemm or MatMul whose weights are a constant, and which axis of its first input its
// products sum over.
bool is_weighted(const Graph& graph, const Node& node);
std::size_t sum_axis(const Graph& graph, const Node& node);

// The constant with one number a channel, where it stood for all of them.
Tensor broadcast_along(const Tensor& tensor, const ScaledConstant& constant);

// Applies factors: scales[g] of groups[g]. Each constant is computed in double and rounded once. A constant that other nodes
// read, too, is copied.
void scale_channels(Graph& graph, const std::vector<ScalingGroup>& groups, const std::vector<std::vector<double>>& scales);

}  // namespace zeropoint::quant
