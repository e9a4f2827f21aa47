// What to tell a user about a placement in a line or two.
#pragma once

#include <span>
#include <string>

#include "quant/placement.h"

namespace zeropoint::quant {

// Why nodes stay in float, the commonest reasons first, at most `most`: "3 Conv: its weights are computed, not constant; ...".
std::string reasons_in_brief(std::span<const LeftInFloat> nodes, std::size_t most = 3);

// For a model none of whose multiply-accumulates became integers: that, why, and the way out.
std::string advice_without_integers(const Graph& graph, std::span<const LeftInFloat> nodes);

}  // namespace zeropoint::quant
