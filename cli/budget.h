// The flags of `zeropoint quantize` that search within a budget of accuracy.
#pragma once

#include <optional>
#include <string>

#include "command.h"
#include "zeropoint/budget.h"

namespace zeropoint::cli {

struct BudgetFlags {
  std::optional<double> max_drop, limit;
  std::string metric = "top1", objective = "fastest", data, labels;
  std::size_t samples = 0;
  std::vector<const CLI::Option*> of_a_budget;  // that mean nothing without max_drop or limit

  void add_to(CLI::App& verb);
  bool given() const { return max_drop || limit; }
  void check() const;  // Error kBadArgument for flags that need another one
  // Throws Error kBadArgument for flags that mean nothing together.
  Quantized run(const Graph& model, const Recipe& recipe, const DataFlags& calibration, const CommonFlags& common,
                const QuantizeOptions& options, const std::string& output) const;
};

}  // namespace zeropoint::cli
