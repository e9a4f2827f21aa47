// Which nodes to leave in float at last, when nothing cheaper mends a model: a search by few models.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace zeropoint {

// `work` of the candidates, those that lose most first. `sound` says whether a model with those in float that are true is good
// enough; it is asked at most `most_tries` times, besides log2 of the candidates at first. Returns the last set that it took
// for sound: as many of the first candidates as it takes, found by doubling and halving, without those, the one with the most
// work first, that need not be in float. Empty when not even all of them do.
std::vector<bool> search_float(std::span<const double> work, int most_tries,
                               const std::function<bool(const std::vector<bool>&)>& sound);

}  // namespace zeropoint
