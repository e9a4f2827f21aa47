#include "quant/layer_steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/thread_pool.h"
#include "quant/biases.h"
#include "quant/choose_qparams.h"
#include "quant/layer_inputs.h"
#include "quant/matrix.h"
#include "zeropoint/error.h"
#include "zeropoint/quantize_tensor.h"
#include "zeropoint/rounding.h"

namespace zeropoint::quant {
namespace {

constexpr int kFewLevels = 64;  // at 8 bits other scales gain next to nothing
constexpr float kScaleFactors[] = {0.6F, 0.7F, 0.8F, 0.85F, 0.9F, 0.95F, 1.05F, 1.1F, 1.2F, 1.3F};

// Chooses integers for a layer.
// It may change the grid's scales where `scales_free`.
using RoundLayer = std::function<std::vector<std::int32_t>(WeightGrid& grid, const LayerRows& rows, bool scales_free)>;

// Entry (o, k) of a layer's matrix in its weight tensor.
std::size_t entry_of(const Layer& layer, std::int64_t o, std::int64_t k) {
  return at(layer.transposed ? k * layer.outputs + o : o * layer.depth + k);
}

// Which parameter each element of a weight has.
std::size_t parameter_of(const Dims& dims, const Granularity& granularity, std::size_t element) {
  const auto* channel = std::get_if<PerChannel>(&granularity);
  const auto* group = std::get_if<PerGroup>(&granularity);
  if (!channel && !group) return 0;
  const int named = channel ? channel->axis : group->axis;
  const std::size_t axis = static_cast<std::size_t>(named < 0 ? named + static_cast<int>(dims.size()) : named);
  const std::int64_t length = dims[axis], inner = element_count(std::span(dims).subspan(axis + 1));
  const auto e = static_cast<std::int64_t>(element);
  const std::int64_t along = e / inner % length;
  if (channel) return at(along);
  const std::int64_t groups = (length + group->size - 1) / group->size;
  return at((e / (inner * length) * groups + along / group->size) * inner + e % inner);
}

WeightGrid grid_of(const Layer& layer, const Tensor& weight, const QParams& qparams) {
  WeightGrid grid{.outputs = layer.outputs, .depth = layer.depth, .limits = limits_of_weight(qparams)};
  const auto values = weight.values<float>();
  for (std::int64_t o = 0; o < layer.outputs; ++o)
    for (std::int64_t k = 0; k < layer.depth; ++k) {
      const std::size_t element = entry_of(layer, o, k), p = parameter_of(weight.dims(), qparams.granularity, element);
      grid.weight.push_back(values[element]);
      grid.scale.push_back(qparams.scale[p]);
      grid.zero_point.push_back(qparams.zero_point[p]);
    }
  return grid;
}

// The weights that `q` stands for, in the tensor's order.
Tensor weights_of(const Layer& layer, const WeightGrid& grid, const std::vector<std::int32_t>& q, const Dims& dims) {
  Tensor weight(DType::f32, dims);
  const auto values = weight.mutable_values<float>();
  for (std::int64_t o = 0; o < layer.outputs; ++o)
    for (std::int64_t k = 0; k < layer.depth; ++k) {
      const std::size_t i = at(o * layer.depth + k);
      values[entry_of(layer, o, k)] = grid.value(i, q[i]);
    }
  return weight;
}

// Means of the columns, which are taken off.
std::vector<double> center(std::vector<float>& matrix, std::int64_t rows) {
  const std::size_t columns = rows == 0 ? 0 : matrix.size() / at(rows);
  std::vector<double> means(columns, 0.0);
  for (std::size_t i = 0, c = 0; i < matrix.size(); ++i, c = c + 1 == columns ? 0 : c + 1)
    means[c] += static_cast<double>(matrix[i]);
  for (double& each : means) each /= static_cast<double>(rows);
  for (std::size_t i = 0, c = 0; i < matrix.size(); ++i, c = c + 1 == columns ? 0 : c + 1)
    matrix[i] = static_cast<float>(static_cast<double>(matrix[i]) - means[c]);
  return means;
}

// What a layer's output is clipped to by the Relu or Clip behind it and by the quantizer there.
struct Bounds {
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
};
Bounds bounds_behind(const Graph& graph, const Uses& uses, const QParamsMap& qparams, const std::string& output) {
  Bounds bounds;
  std::string value = output;
  const auto readers = uses.consumers.find(value);
  if (!qparams.contains(value) && readers != uses.consumers.end() && readers->second.size() == 1) {
    const Node& node = graph.nodes[readers->second.front()];
    if (node.is("Relu")) {
      bounds.low = 0;
      value = node.outputs[0];
    } else if (node.is("Clip")) {
      const Tensor *low = graph.constant(node.input(1)), *high = graph.constant(node.input(2));
      if (low && low->dtype() == DType::f32 && low->size() == 1) bounds.low = low->values<float>()[0];
      if (high && high->dtype() == DType::f32 && high->size() == 1) bounds.high = high->values<float>()[0];
      value = node.outputs[0];
    }
  }
  if (const auto found = qparams.find(value); found != qparams.end()) {
    const QParams& q = found->second;
    const IntegerLimits limits = limits_of(q);
    bounds.low = std::max(bounds.low, static_cast<float>(limits.low - q.zero_point[0]) * q.scale[0]);
    bounds.high = std::min(bounds.high, static_cast<float>(limits.high - q.zero_point[0]) * q.scale[0]);
  }
  return bounds;
}

// How integers do, by output, with the shift of the bias that serves them best.
struct Fit {
  std::vector<double> shift, error, error_unshifted;  // errors: mean squares behind the clip
};

// The shift d that minimizes the sum over rows of (clip(y + d) - clip(t))^2, by Gauss-Newton steps over the rows that are not
// clipped. What few rows say is taken for little: as if kDoubt more rows said 0.
void fit_shift(std::span<const float> y, std::span<const float> t, const Bounds& bounds, double* shift, double* error,
               double* unshifted) {
  constexpr double kDoubt = 16;
  constexpr int kSteps = 12;
  const auto low = static_cast<double>(bounds.low), high = static_cast<double>(bounds.high);
  const auto loss = [&](double d) {
    double sum = 0;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double e = std::clamp(static_cast<double>(y[i]) + d, low, high) - static_cast<double>(t[i]);
      sum += e * e;
    }
    return sum;
  };
  double best = 0, least = loss(0);
  *unshifted = least / static_cast<double>(y.size());
  double total = least;
  for (int step = 0; step < kSteps; ++step) {
    double sum = 0, count = kDoubt;
    for (std::size_t i = 0; i < y.size(); ++i) {
      const double value = static_cast<double>(y[i]) + best;
      if (value <= low || value >= high) continue;
      sum += static_cast<double>(t[i]) - static_cast<double>(y[i]);
      count += 1;
    }
    double next = sum / count;
    bool moved = false;
    for (int half = 0; half < 4 && !moved; ++half, next = (next + best) / 2) {
      const double here = loss(next), with_doubt = here + kDoubt * next * next;
      if (!(with_doubt < total * (1 - 1e-9))) continue;
      best = next;
      least = here;
      total = with_doubt;
      moved = true;
    }
    if (!moved) break;
  }
  *shift = best;
  *error = least / static_cast<double>(y.size());
}

// `rows` with means taken off x; x_means are those. `bias`: of the layer so far, `targets` clipped, [outputs, rows].
Fit fit(const WeightGrid& grid, const std::vector<std::int32_t>& q, const LayerRows& rows, const std::vector<double>& x_means,
        const std::vector<float>& bias, const std::vector<float>& targets, bool shifted, int threads) {
  const std::int64_t each = rows.outputs / rows.groups, stride = rows.groups * rows.depth;
  const Bounds bounds{rows.low, rows.high};
  std::vector<float> weights(q.size());
  for (std::size_t i = 0; i < q.size(); ++i) weights[i] = grid.value(i, q[i]);
  Fit result{std::vector<double>(bias.size()), std::vector<double>(bias.size()), std::vector<double>(bias.size())};
  ThreadPool pool(threads);
  std::vector<float> y(at(rows.outputs * rows.rows));  // [outputs, rows]
  for (std::int64_t g = 0; g < rows.groups; ++g)
    multiply(
        {.m = each, .n = rows.rows, .k = rows.depth, .a_row = rows.depth, .b_k = 1, .b_column = stride, .c_row = rows.rows},
        weights.data() + g * each * rows.depth, rows.x.data() + g * rows.depth, y.data() + g * each * rows.rows, pool);
  pool.run([&](int worker) {
    const Range64 part = partition(rows.outputs, worker, pool.threads());
    for (std::int64_t o = part.begin; o < part.end; ++o) {
      double offset = static_cast<double>(bias[at(o)]);
      for (std::int64_t k = 0; k < rows.depth && !x_means.empty(); ++k)
        offset += static_cast<double>(weights[at(o * rows.depth + k)]) * x_means[at(o / each * rows.depth + k)];
      const std::span<float> line(y.data() + o * rows.rows, at(rows.rows));
      for (float& value : line) value = static_cast<float>(static_cast<double>(value) + offset);
      const std::span<const float> wanted(targets.data() + o * rows.rows, at(rows.rows));
      double* const error = &result.error[at(o)];
      double* const unshifted = &result.error_unshifted[at(o)];
      fit_shift(line, wanted, bounds, &result.shift[at(o)], error, unshifted);
      if (shifted) continue;
      result.shift[at(o)] = 0;
      *error = *unshifted;
    }
  });
  return result;
}

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return values.empty() ? 0 : sum / static_cast<double>(values.size());
}

// Signal-to-noise ratios in dB, averaged over layers.
class Decibels {
 public:
  void add(double signal, double before, double after) {
    if (!(signal > 0)) return;
    const double least = signal * 1e-12;  // layers without any error
    before_ += 10 * std::log10(signal / std::max(before, least));
    after_ += 10 * std::log10(signal / std::max(after, least));
    ++layers_;
  }
  void log(const Step& step, StepLog& log) const {
    if (layers_ == 0) return;
    const double layers = layers_;
    log.gains.push_back({step.name, fmt::format("outputs of {} layers", layers_), "dB", before_ / layers, after_ / layers});
  }

 private:
  double before_ = 0, after_ = 0;
  int layers_ = 0;
};

class LayerByLayer {
 public:
  LayerByLayer(Rounding& rounding, const Step& step, const StepContext& context)
      : rounding_(rounding),
        step_(step),
        context_(context),
        threads_(context.options.threads > 0 ? context.options.threads : physical_cores()) {}

  int threads() const { return threads_; }

  void run(const RoundLayer& round) {
    RowOptions how{.rows = static_cast<std::int64_t>(parameter(step_, "rows")),
                   .samples = static_cast<std::int64_t>(parameter(step_, "samples"))};
    if (const std::uint64_t most = context_.options.max_memory; most > 0) {  // the rest is for networks and matrices
      how.target_bytes = std::min(how.target_bytes, most / 4);
      how.input_bytes = std::min(how.input_bytes, most / 16);
    }
    std::vector<Layer> found = find_layers(rounding_.original, rounding_.qparams);
    if (found.empty()) return;
    LayerInputs inputs(rounding_.original, std::move(found), *context_.samples, context_.options, how);
    const std::vector<Layer>& layers = inputs.layers();
    Decibels gained;
    for (std::size_t begin = 0, end = 0; begin < layers.size(); begin = end) {
      std::vector<std::size_t> wave;
      for (end = begin; end < layers.size() && layers[end].wave == layers[begin].wave; ++end) wave.push_back(end);
      std::vector<LayerRows> rows = inputs.rows_of(wave, rounding_.graph, rounding_.qparams);
      for (std::size_t i = 0; i < wave.size(); ++i) {
        if (context_.options.interrupt && *context_.options.interrupt)
          throw Error(ErrorCode::kInterrupted, "quantize", "stopped by the user");
        one(layers[wave[i]], rows[i], round, gained);
        rows[i] = {};
        if (context_.options.progress) context_.options.progress(step_.name, wave[i] + 1, layers.size());
      }
    }
    remove_unused_values(rounding_.graph);
    gained.log(step_, context_.log);
  }

 private:
  void one(const Layer& layer, LayerRows& rows, const RoundLayer& round, Decibels& gained) {
    if (rows.rows == 0) return;
    Graph& graph = rounding_.graph;
    const Uses uses = find_uses(graph);
    const ValueIndex values(graph);
    const Tensor& weight = *rounding_.original.constant(layer.weight);
    QParams& qparams = rounding_.qparams.at(layer.weight);
    WeightGrid grid = grid_of(layer, *graph.constant(layer.weight), qparams);
    const std::vector<std::int32_t> start = round_to_nearest(grid);
    grid = grid_of(layer, weight, qparams);

    const std::string bias_name = bias_of(graph, values, uses, graph.nodes[layer.node]);
    const bool has_bias = !graph.nodes[layer.node].is("MatMul") || !bias_name.empty();
    const std::vector<float> bias = bias_values(graph, bias_name, at(layer.outputs));
    const Bounds bounds = bounds_behind(graph, uses, rounding_.qparams, behind_bias(graph, uses, layer, bias_name));
    rows.low = bounds.low;
    rows.high = bounds.high;
    if (graph.nodes[layer.node].is("MatMul") && !bias_name.empty()) {  // whose clip stands behind the bias
      const std::vector<float> given = original_bias(layer, bias.size());
      for (std::size_t i = 0; i < rows.target.size(); ++i) rows.target[i] += given[i % given.size()];
    }
    std::vector<float> targets(rows.target.size());  // [outputs, rows], clipped
    double signal = 0;
    for (std::int64_t row = 0; row < rows.rows; ++row)
      for (std::int64_t o = 0; o < rows.outputs; ++o) {
        const float value = std::clamp(rows.target[at(row * rows.outputs + o)], bounds.low, bounds.high);
        targets[at(o * rows.rows + row)] = value;
        signal += static_cast<double>(value) * static_cast<double>(value) / static_cast<double>(targets.size());
      }
    // A bias that follows the weights takes in what is wrong on average: the rest is what the weights are chosen for.
    std::vector<double> x_means;
    if (has_bias) {
      x_means = center(rows.x, rows.rows);
      for (const double each : center(rows.target, rows.rows)) rows.offset.push_back(static_cast<float>(each));
    }
    const Fit plain = fit(grid, start, rows, x_means, bias, targets, has_bias, threads_);
    std::vector<std::int32_t> q = start;
    Fit chosen = plain;
    if (round) {
      WeightGrid changed = grid;
      const bool scales_free = free_scales(graph, uses, layer, qparams, bias, changed);
      const std::vector<std::int32_t> rounded = round(changed, rows, scales_free);
      const Fit better = fit(changed, rounded, rows, x_means, bias, targets, has_bias, threads_);
      for (std::size_t o = 0; o < bias.size(); ++o) {
        if (!(better.error[o] < plain.error[o])) continue;
        const auto first = static_cast<std::ptrdiff_t>(at(layer.depth) * o), last = first + layer.depth;
        std::copy(rounded.begin() + first, rounded.begin() + last, q.begin() + first);
        std::copy(changed.scale.begin() + first, changed.scale.begin() + last, grid.scale.begin() + first);
        chosen.shift[o] = better.shift[o];
        chosen.error[o] = better.error[o];
      }
      if (scales_free)
        for (std::int64_t o = 0; o < layer.outputs; ++o) qparams.scale[at(o)] = grid.scale[at(o * layer.depth)];
      graph.initializers[layer.weight] = weights_of(layer, grid, q, weight.dims());
    }
    gained.add(signal, mean(plain.error_unshifted), mean(chosen.error));
    if (!has_bias) return;
    std::vector<float> corrected = bias;
    for (std::size_t o = 0; o < bias.size(); ++o)
      corrected[o] = static_cast<float>(static_cast<double>(bias[o]) + chosen.shift[o]);
    set_bias(graph, uses, layer.node, bias_name, corrected);
    rounding_.corrected.insert(layer.output);
  }

  // Whether a layer's scales may be chosen anew: each output has its own, no other node reads them, and they are not held to
  // powers of two. Sets the least that keep sums and bias in 32 bits.
  bool free_scales(const Graph& graph, const Uses& uses, const Layer& layer, const QParams& qparams,
                   const std::vector<float>& bias, WeightGrid& grid) const {
    constexpr double kRoomForBias = 2;  // which moves yet
    if (!std::holds_alternative<PerChannel>(qparams.granularity) ||
        static_cast<std::int64_t>(qparams.scale.size()) != layer.outputs)
      return false;
    if (const auto readers = uses.consumers.find(layer.weight); readers != uses.consumers.end() && readers->second.size() > 1)
      return false;
    int exponent = 0;
    if (std::all_of(qparams.scale.begin(), qparams.scale.end(), [&](float s) { return std::frexp(s, &exponent) == 0.5F; }))
      return false;
    const QParams& x = rounding_.qparams.at(graph.nodes[layer.node].input(0));
    const IntegerLimits limits = limits_of(x);
    for (std::int64_t o = 0; o < layer.outputs; ++o) {
      double sum = 0;
      for (std::int64_t k = 0; k < layer.depth; ++k) sum += std::abs(static_cast<double>(grid.weight[at(o * layer.depth + k)]));
      grid.least_scale.push_back(static_cast<float>(least_safe_scale(
          sum, kRoomForBias * std::abs(static_cast<double>(bias[at(o)])), layer.depth, x.scale[0], limits.high - limits.low)));
    }
    return true;
  }

  // The value that has the layer's bias in it.
  static std::string behind_bias(const Graph& graph, const Uses& uses, const Layer& layer, const std::string& bias) {
    if (bias.empty() || !graph.nodes[layer.node].is("MatMul")) return layer.output;
    return graph.nodes[uses.consumers.find(layer.output)->second.front()].outputs[0];
  }
  // Of a MatMul, before any step.
  std::vector<float> original_bias(const Layer& layer, std::size_t channels) const {
    const Graph& graph = rounding_.original;
    return bias_values(graph, bias_of(graph, ValueIndex(graph), find_uses(graph), graph.nodes[layer.node]), channels);
  }

  Rounding& rounding_;
  const Step& step_;
  const StepContext& context_;
  const int threads_;
};

}  // namespace

void gptq_step(Rounding& rounding, const Step& step, const StepContext& context) {
  LayerByLayer layers(rounding, step, context);
  const bool scales = parameter(step, "scales") != 0;
  GptqOptions options{.damping = parameter(step, "damping"),
                      .act_order = parameter(step, "act_order") != 0,
                      .sweeps = static_cast<int>(parameter(step, "sweeps")),
                      .correct_inputs = parameter(step, "correct_inputs"),
                      .threads = layers.threads()};
  layers.run([&](WeightGrid& grid, const LayerRows& rows, bool scales_free) {
    const bool few = grid.limits.high - grid.limits.low < kFewLevels;
    options.scale_factors.clear();
    if (scales && few && scales_free) options.scale_factors.assign(std::begin(kScaleFactors), std::end(kScaleFactors));
    return gptq_with_scales(grid, rows, options);
  });
}

void adaround_step(Rounding& rounding, const Step& step, const StepContext& context) {
  LayerByLayer layers(rounding, step, context);
  const AdaRoundOptions options{.iterations = static_cast<int>(parameter(step, "iterations")),
                                .batch = static_cast<std::int64_t>(parameter(step, "batch")),
                                .learning_rate = parameter(step, "learning_rate"),
                                .regularization = parameter(step, "regularization"),
                                .beta_start = parameter(step, "beta_start"),
                                .beta_end = parameter(step, "beta_end"),
                                .warm_up = parameter(step, "warm_up"),
                                .threads = layers.threads()};
  layers.run([&](WeightGrid& grid, const LayerRows& rows, bool) { return adaround(grid, rows, options); });
}

void empirical_bias_correction_step(Rounding& rounding, const Step& step, const StepContext& context) {
  LayerByLayer(rounding, step, context).run({});
}

}  // namespace zeropoint::quant
