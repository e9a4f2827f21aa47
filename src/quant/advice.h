// What to tell a user about a placement in a line or two.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "quant/placement.h"

namespace zeropoint::quant {

// Why nodes stay in float, the commonest reasons first, at most `most`: "3 Conv: its weights are computed, not constant; ...".
std::string reasons_in_brief(std::span<const LeftInFloat> nodes, std::size_t most = 3);

// For a model of whose multiply-accumulates none became integers, or only this small share: that, why, and the way out.
std::string advice_without_integers(const Graph& graph, std::span<const LeftInFloat> nodes, Target target, double share = 0);

// What to do about a model that a recipe finds nothing to quantize in: " What to do: ..."; empty where there is no advice.
std::string way_out(const Graph& graph, Target target);

// Multiply-accumulates of a node of a typed graph; of control flow those of its longest body, once.
std::int64_t macs_with_bodies(const ValueIndex& values, const Node& node);

}  // namespace zeropoint::quant
