// What a model is judged by.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/report.h"
#include "zeropoint/samples.h"

namespace zeropoint {

struct Metric {
  std::string name;
  std::function<double(const Graph& model)> value;  // any function of a model
  bool larger_is_better = true;
  // Tells it from others of the same name, for records of searches: what it judges on.
  std::string identity{};
};

// top1, top5: percent of samples whose label is the class of the first output's largest element, or among its largest five.
// agreement: percent of rows in which both models' largest elements stand at the same place, over all f32 outputs [N, classes].
// cosine, mse, sqnr: over all elements of all f32 outputs (ErrorMetrics; mse the mean of (x - y)^2, sqnr in dB).
const std::vector<std::string>& metric_names();

// One of them, beside the outputs of `original` on `samples`, which must live as long. Throws Error kBadArgument for another
// name. Its value() throws kBadArgument where the model has no such output, kBadSample for a sample without a label.
Metric named_metric(std::string_view name, const Graph& original, const Samples& samples, const CompareOptions& options = {});

}  // namespace zeropoint
