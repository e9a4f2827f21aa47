// How far the outputs of quantized models lie from those of one float model, whose results are kept.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "zeropoint/cpu.h"
#include "zeropoint/graph.h"
#include "zeropoint/report.h"
#include "zeropoint/samples.h"

namespace zeropoint::analyze {

struct OutputCheck {
  std::vector<OutputMetrics> outputs;
  // The least of the outputs, each at its judged value (noise.h): what a Softmax or Sigmoid reads in place of what it makes.
  double sqnr_db = 0;
  std::optional<double> top1_agreement;  // the least of the outputs that are rows of classes
  double integer_coverage = 0;
};

class FloatReference {
 public:
  struct Options {
    int threads = 0;
    std::optional<Isa> max_isa;
    std::map<std::string, Dims> shapes;
    const std::atomic<bool>* interrupt = nullptr;
  };
  FloatReference(const Graph& graph, const Samples& samples, Options options);

  OutputCheck check(const Graph& quantized) const;
  std::size_t samples() const { return feeds_.size(); }
  const Feeds& feeds(std::size_t sample) const { return feeds_.at(sample); }

 private:
  Graph graph_;
  Options options_;
  std::vector<std::string> judged_;
  std::vector<Feeds> feeds_;
  std::vector<std::vector<Tensor>> outputs_;                    // [sample][output]
  std::vector<std::vector<std::vector<float>>> judged_values_;  // [sample][judged]
};

}  // namespace zeropoint::analyze
