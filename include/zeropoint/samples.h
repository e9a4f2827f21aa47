// Samples: what a model is calibrated and judged on.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "zeropoint/tensor.h"

namespace zeropoint {

using Feeds = std::map<std::string, Tensor>;  // input name -> tensor

// Replayable: get(i) gives the same each time, from any thread.
class Samples {
 public:
  virtual ~Samples() = default;
  virtual std::size_t size() const = 0;
  virtual Feeds get(std::size_t index) const = 0;  // throws Error kBadSample naming the file
  virtual std::string describe(std::size_t index) const { return "sample " + std::to_string(index); }
  virtual std::optional<std::int64_t> label(std::size_t) const { return std::nullopt; }
};

}  // namespace zeropoint
