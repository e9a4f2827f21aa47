// Parameters of a whole graph with what there is to say about them.
#pragma once

#include <string>
#include <vector>

#include "quant/placement.h"
#include "zeropoint/insert_qdq.h"
#include "zeropoint/ranges.h"
#include "zeropoint/statistics.h"

namespace zeropoint::quant {

inline OpsetLimit opset_limit(Target target) {
  return {newest_opset(target), std::string(name(target)), takes_two_bits(target)};
}

struct QParamsChoice {
  QParamsMap qparams;
  Placement placement;
  std::vector<std::string> notes;  // widened channels: a line each
};
QParamsChoice choose_with_notes(const Graph& graph, const Statistics& statistics, const Recipe& recipe);

// The least scale at which K products of `span` = high - low of the input's type and weights of that scale, plus the bias at
// x_scale * scale, stay inside 32 bits:  (|b| / x_scale + span * sum |w|) / (2^31 - 1 - span * K / 2)
// as sum |w_q| <= sum |w| / scale + K / 2.
double least_safe_scale(double weights, double bias, std::int64_t products, float x_scale, std::int32_t span);

}  // namespace zeropoint::quant
