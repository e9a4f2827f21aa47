// Which nodes stay in float because integers make them slower: the search, for whoever tells the times.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace zeropoint::quant {

using NodeNames = std::set<std::string>;  // nameless nodes go by their first output

struct NodeTimes {
  std::map<std::string, double> seconds;  // of each node, with the conversions that stand there because of it
  NodeNames in_integers;
};

// Tells times of one network: by measuring or by a table.
class SpeedSource {
 public:
  virtual ~SpeedSource() = default;
  virtual NodeTimes in_float() = 0;
  // Quantized but for `in_float`.
  virtual NodeTimes quantized(const NodeNames& in_float) = 0;
  // Seconds of a run with the nodes of `before` in float, and with those of `after`; nothing when `after` leaves none in
  // integers.
  virtual std::optional<std::pair<double, double>> compare(const NodeNames& before, const NodeNames& after) = 0;
};

struct SlowerNode {
  std::string node;
  double float_seconds = 0, integer_seconds = 0;  // integers: with the conversions around it
  friend bool operator==(const SlowerNode&, const SlowerNode&) = default;
};

// Proposes the nodes that are slower in integers, all at once, then the worse half of them, and so on; what makes a whole run
// faster by at least 2 % is kept, and the search begins anew from there. So the result is never slower than the fully quantized
// network. The worst of each accepted proposal first.
std::vector<SlowerNode> choose_by_speed(SpeedSource& source);

}  // namespace zeropoint::quant
