// Errors about a model name the file that it was read from, wherever they come from.
#pragma once

#include <utility>

#include "zeropoint/graph.h"

namespace zeropoint {

// The same error with `source` in front of its place. Unchanged when it is there already, when `source` is empty, or when the
// model is not to blame: a sample, a recipe, other files, an interrupt.
Error with_source(const Error& error, const std::string& source);

// What `work` gives; its errors are about the model that was read from `source`.
template <class Work>
decltype(auto) naming_source(const std::string& source, Work&& work) {
  try {
    return std::forward<Work>(work)();
  } catch (const Error& error) {
    throw with_source(error, source);
  }
}
template <class Work>
decltype(auto) naming_source(const Graph& graph, Work&& work) {
  return naming_source(std::string(graph.source), std::forward<Work>(work));  // `work` may move the graph
}

}  // namespace zeropoint
