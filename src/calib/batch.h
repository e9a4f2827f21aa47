// Batches: samples are counted and run one row at a time, so that how they were grouped never shows.
#pragma once

#include <cstdint>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/samples.h"

namespace zeropoint::calib {

// True when the graph leaves its batch open: the first axis of every input is unknown, of one name, and not named after a
// sequence (time, length, tokens, frames), in whose steps a network may depend on each other.
bool has_open_batch(const Graph& graph);

// The rows of a batch, each with a first axis of 1; the feeds alone where `open_batch` is false or they are one row already.
// Throws Error kBadSample naming `where` when the inputs' first axes differ or are 0.
std::vector<Feeds> split_batch(const Feeds& feeds, bool open_batch, const std::string& where);

// Of names, types, shapes and bytes.
std::uint64_t content_hash(const Feeds& feeds);

}  // namespace zeropoint::calib
