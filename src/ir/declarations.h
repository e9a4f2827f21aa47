// Declarations of one value in several places.
#pragma once

#include <string>

#include "zeropoint/graph.h"

namespace zeropoint {

// "" when both types may describe one value, else how they differ: "is f32 here and s8 there". What one does not know fits.
std::string contradiction(const TensorType& here, const TensorType& there);

}  // namespace zeropoint
