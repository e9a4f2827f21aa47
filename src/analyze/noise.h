// What each quantizer of a model does to its outputs by itself: the float model runs with one error at a time.
//
// A value's error is that of its own quantizer, made in place; a weight's is what its node makes with the quantized weights and
// bias minus what it makes with the float ones. Small errors that have little to do with each other add up at the outputs
// by their squares, so the sum over all sources says what the whole model loses, and a source's share what restoring it would
// give back (docs/diagnosis.md). No model is compiled again for a source: one float session serves all.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "zeropoint/cpu.h"
#include "zeropoint/graph.h"
#include "zeropoint/qparams.h"
#include "zeropoint/samples.h"

namespace zeropoint::analyze {

// Values with one set of parameters, or the weights of one node.
struct NoiseSource {
  std::vector<std::string> values;  // in the order of the float graph; empty: weights
  QParams qparams;                  // of the values
  std::string weight;               // initializer
  std::size_t node = 0;             // weights: of the float graph, that multiplies by them
  // Sums of squared errors by sums of squares (noise to signal, by power): at the values themselves, or at what the node makes.
  double local = 0;
  double local_16 = 0;  // of values: what 16 bits over the same range would leave of `local`
  // The same at the outputs of the model, mean over them, where it was measured; else what was estimated of `local`.
  double noise = 0;
  bool measured = false;
  double saturated = 0;  // share of the values at the lowest or highest level without being rounded to it
  double dead = 0;       // share of the values that were not 0 and became 0
};

struct NoiseOptions {
  int threads = 0;
  std::optional<Isa> max_isa;
  std::map<std::string, Dims> shapes;
  std::size_t samples = 4;
  std::vector<std::vector<std::string>> groups;  // values with one quantizer; empty: those of equal parameters
  double most_macs = 3e11;  // of all runs together: beyond it fewer samples, then fewer sources are measured
  const std::atomic<bool>* interrupt = nullptr;
  std::function<void(std::size_t done, std::size_t total)> progress;
};

struct Noise {
  std::vector<NoiseSource> sources;  // the worst first
  std::size_t samples = 0, measured = 0;
  double total = 0;  // sum over the sources
};

// `quantized` is `float_graph` with quantizers, made by insert_qdq: values and nodes keep their names. Outputs that a Softmax
// or Sigmoid makes are judged by what it reads, since probabilities near 0 and 1 hide errors.
Noise measure_noise(const Graph& float_graph, const Graph& quantized, const Samples& samples, const NoiseOptions& options = {});

// noise to signal -> dB; infinity for 0.
double decibels(double noise_to_signal);

// Outputs of float type, or what the Softmax or Sigmoid behind them reads.
std::vector<std::string> judged_values(const Graph& graph);

// Parameters of the activations of a model with quantizers, by the value's name in `float_graph`.
QParamsMap activation_qparams(const Graph& float_graph, const Graph& quantized);

}  // namespace zeropoint::analyze
