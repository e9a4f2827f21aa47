// What the layers of a graph take in and what they shall give, as rows of matrices over calibration samples.
//
// A row is one output position of a layer: of a convolution its patch, of a product its row. Positions are drawn once, with a
// fixed seed, spread over samples and places; targets come from the float graph, inputs from a quantized one. Memory holds the
// targets of all layers of a pass and the inputs of one wave of layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"
#include "zeropoint/rounding.h"
#include "zeropoint/samples.h"
#include "zeropoint/steps.h"

namespace zeropoint::quant {

// A node whose weights are rounded: Conv, Gemm or MatMul with a constant matrix.
struct Layer {
  std::size_t node = 0;               // index in the graph
  std::string input, weight, output;  // values
  std::int64_t groups = 1, depth = 0, outputs = 0;
  bool transposed = false;  // the weight lies as [depth, outputs]
  std::size_t wave = 0;     // layers before it, along the longest way
};
// Those whose input and weight are in `qparams`, in the graph's order; of several readers of one weight the first.
std::vector<Layer> find_layers(const Graph& graph, const QParamsMap& qparams);

struct RowOptions {
  std::int64_t rows = 4096;    // of a layer, at most
  std::int64_t samples = 128;  // that are run, at most
  std::uint64_t seed = 0;
  std::uint64_t target_bytes = std::uint64_t{512} << 20;  // of targets that are held at a time
  std::uint64_t input_bytes = std::uint64_t{96} << 20;    // of one layer's inputs
};

// The same rows for any number of threads. Throws Error kInterrupted, and what running the graph throws.
class LayerInputs {
 public:
  LayerInputs(const Graph& graph, std::vector<Layer> layers, const Samples& samples, const StepOptions& options,
              const RowOptions& how);
  const std::vector<Layer>& layers() const { return layers_; }
  // x of each of these layers (indices, of one wave) as `current` makes it: the same nodes, quantized with `qparams` up to the
  // layers' inputs; and targets as the float graph makes them. Ascending waves need the fewest runs of the float graph.
  std::vector<LayerRows> rows_of(const std::vector<std::size_t>& layers, const Graph& current, const QParamsMap& qparams);

 private:
  struct Place {  // of a row
    std::size_t sample;
    std::int64_t position;  // of the flattened batch and spatial axes of the output
  };
  void collect_targets(std::size_t first);
  template <class Work>
  void for_each_sample(const Graph& graph, std::vector<std::string> taps, const Work& work);

  const Graph& graph_;
  std::vector<Layer> layers_;
  const Samples& samples_;
  std::vector<std::size_t> chosen_;  // samples
  const StepOptions& options_;
  const RowOptions how_;
  int threads_;
  std::vector<std::vector<Place>> places_;   // by layer; empty: not collected yet, or already used
  std::vector<std::vector<float>> targets_;  // by layer: [rows, outputs]
};

// The part of a graph that makes these values, which become its outputs. All inputs stay.
Graph part_that_makes(const Graph& graph, const std::vector<std::string>& values);

}  // namespace zeropoint::quant
