// What a search within a budget has tried, in a file: JSON, replaced whole after each model.
#pragma once

#include <atomic>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "zeropoint/graph.h"
#include "zeropoint/metric.h"
#include "zeropoint/report.h"
#include "zeropoint/samples.h"

namespace zeropoint {

// Tells searches apart: the model, the samples that it is calibrated on, and how it is judged. `interrupt` becomes true: throws
// Error kInterrupted.
std::string cache_identity(const Graph& fused, const Samples& samples, const Metric& metric,
                           const std::atomic<bool>* interrupt = nullptr);

class BudgetCache {
 public:
  explicit BudgetCache(std::filesystem::path path) : path_(std::move(path)) {}  // empty: keeps nothing beyond the run

  // Reads what is there when `resume`. Throws Error kMismatch when it is of another search, kBadFile when it is damaged.
  void begin(const std::string& identity, bool resume);
  std::optional<double> float_value() const { return float_value_; }
  void set_float_value(double value);
  const TriedModel* find(const std::string& recipe) const;  // by its JSON
  void add(const TriedModel& tried);
  void remove() const;  // the file

 private:
  void write() const;

  std::filesystem::path path_;
  std::string identity_;
  std::optional<double> float_value_;
  std::map<std::string, TriedModel> tried_;
};

}  // namespace zeropoint
