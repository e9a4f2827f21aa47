// Order of the nodes of a subgraph.
#pragma once

#include "zeropoint/graph.h"

namespace zeropoint {

// As sort_nodes(), but inputs that the subgraph does not define belong to an outer graph and are no error.
void sort_subgraph_nodes(Graph& subgraph);

}  // namespace zeropoint
