#include "analyze/noise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "analyze/distribution.h"
#include "analyze/value_pairs.h"
#include "engine/tap.h"
#include "ops/operator.h"
#include "zeropoint/error.h"
#include "zeropoint/quantize_tensor.h"
#include "zeropoint/session.h"

namespace zeropoint::analyze {
namespace {

// Errors beyond the signal itself say no more than that the output is lost.
constexpr double kMostNoise = 10;

struct Powers {
  double error = 0, signal = 0;
  double ratio() const { return error == 0 ? 0 : signal == 0 ? kMostNoise : std::min(kMostNoise, error / signal); }
};

// Of the elements in the order of ONNX's dimensions: where each lies in memory.
template <class Visit>
void for_each_place(const TapView& view, Visit&& visit) {
  const std::size_t size = view.values.size();
  if (!view.channel_last || view.dims.size() < 3) {
    for (std::size_t i = 0; i < size; ++i) visit(i, i);
    return;
  }
  const auto batch = static_cast<std::size_t>(view.dims[0]), channels = static_cast<std::size_t>(view.dims[1]);
  const std::size_t pixels = batch * channels == 0 ? 0 : size / (batch * channels);
  for (std::size_t n = 0; n < batch; ++n)
    for (std::size_t c = 0; c < channels; ++c)
      for (std::size_t p = 0; p < pixels; ++p) visit((n * channels + c) * pixels + p, (n * pixels + p) * channels + c);
}

Tensor copy_of(const TapView& view) {
  Tensor tensor(DType::f32, Dims(view.dims.begin(), view.dims.end()));
  const auto out = tensor.mutable_values<float>();
  for_each_place(view, [&](std::size_t i, std::size_t place) { out[i] = view.values[place]; });
  return tensor;
}

struct Quantizer {
  float scale = 1, zero_point = 0, low = 0, high = 255;
  explicit Quantizer(const QParams& qparams)
      : scale(qparams.scale.at(0)), zero_point(static_cast<float>(qparams.zero_point.at(0))) {
    const IntegerLimits limits = limits_of(qparams);
    low = static_cast<float>(limits.low);
    high = static_cast<float>(limits.high);
  }
  // The same range in up to 65536 steps, where there were at most 256.
  Quantizer wide() const {
    if (high - low > 255) return *this;
    Quantizer result = *this;
    const float finer = std::floor(65535 / (high - low));
    result.scale = scale / finer;
    result.zero_point = std::nearbyint((zero_point - low) * finer);
    result.low = 0;
    result.high = (high - low) * finer;
    return result;
  }
  float operator()(float x) const {
    const float q = std::nearbyint(x / scale) + zero_point;
    return scale * ((q > low ? std::min(q, high) : low) - zero_point);
  }
  bool saturates(float x) const {
    const float q = std::nearbyint(x / scale) + zero_point;
    return q < low || q > high;
  }
};

// The constant behind a DequantizeLinear as floats, or the constant itself; null where there is neither.
std::optional<Tensor> constant_in_floats(const Graph& graph, const std::map<std::string, const Node*>& makers,
                                         const std::string& value) {
  if (const Tensor* constant = graph.constant(value)) return *constant;
  const auto maker = makers.find(value);
  if (maker == makers.end() || !maker->second->is("DequantizeLinear")) return std::nullopt;
  const Node& node = *maker->second;
  const Tensor *q = graph.constant(node.input(0)), *scale = graph.constant(node.input(1));
  if (!q || !scale || scale->dtype() != DType::f32) return std::nullopt;
  const Tensor* zero = graph.constant(node.input(2));
  QParams qparams{.dtype = q->dtype()};
  const auto scales = scale->values<float>();
  qparams.scale.assign(scales.begin(), scales.end());
  if (scale->rank() == 1 && q->rank() >= 1)
    qparams.granularity = PerChannel{static_cast<int>(node.get_int("axis", 1))};
  else if (scale->size() != 1)
    qparams.granularity = PerGroup{static_cast<int>(node.get_int("axis", 1)), node.get_int("block_size", 1)};
  qparams.zero_point.assign(qparams.scale.size(), 0);
  if (zero) {
    const Tensor plain =
        dequantize_tensor(*zero, {.dtype = zero->dtype(), .granularity = PerTensor{}, .scale = {1}, .zero_point = {0}});
    const auto zeros = plain.values<float>();
    for (std::size_t i = 0; i < zeros.size() && i < qparams.zero_point.size(); ++i)
      qparams.zero_point[i] = static_cast<std::int32_t>(zeros[i]);
  }
  return dequantize_tensor(*q, qparams);
}

std::map<std::string, const Node*> makers_of(const Graph& graph) {
  std::map<std::string, const Node*> makers;
  for (const Node& node : graph.nodes)
    for (const std::string& output : node.outputs)
      if (!output.empty()) makers.emplace(output, &node);
  return makers;
}

// The nodes of the quantized graph by their float form's first output.
std::map<std::string, const Node*> same_nodes(const Graph& float_graph, const Graph& quantized) {
  std::map<std::string, const Node*> by_name, by_output;
  std::set<std::string> twice;
  for (const Node& node : quantized.nodes) {
    if (!node.name.empty() && !by_name.emplace(node.op_type + "\n" + node.name, &node).second)
      twice.insert(node.op_type + "\n" + node.name);
    if (!node.outputs.empty()) by_output.emplace(node.outputs[0], &node);
  }
  std::map<std::string, const Node*> result;
  for (const Node& node : float_graph.nodes) {
    if (node.outputs.empty()) continue;
    const auto same_output = by_output.find(node.outputs[0]);
    if (same_output != by_output.end() && same_output->second->op_type == node.op_type) {
      result.emplace(node.outputs[0], same_output->second);
      continue;
    }
    const std::string key = node.op_type + "\n" + node.name;
    if (const auto found = by_name.find(key); found != by_name.end() && !twice.contains(key))
      result.emplace(node.outputs[0], found->second);
  }
  return result;
}

bool equal_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.dims() == b.dims() && std::ranges::equal(a.bytes(), b.bytes());
}

// One node by itself on quantized constants: what it makes of the float inputs.
class Alone {
 public:
  Alone(const Graph& graph, const Node& node, const std::map<std::size_t, Tensor>& constants, std::size_t rank,
        const SessionOptions& options) {
    Graph one;
    one.ir_version = graph.ir_version;
    one.opsets = graph.opsets;
    Node copy = node;
    for (std::size_t i = 0; i < copy.inputs.size(); ++i) {
      if (copy.inputs[i].empty()) continue;
      const auto replaced = constants.find(i);
      const Tensor* constant = replaced != constants.end() ? &replaced->second : graph.constant(copy.inputs[i]);
      copy.inputs[i] = "i" + std::to_string(i);
      if (constant) {
        one.initializers.emplace(copy.inputs[i], *constant);
        continue;
      }
      Shape shape;
      for (std::size_t axis = 0; axis < rank; ++axis) shape.emplace_back("d" + std::to_string(axis));
      one.inputs.push_back({copy.inputs[i], {DType::f32, shape}});
    }
    copy.outputs = {"y"};
    one.nodes.push_back(std::move(copy));
    one.outputs.push_back({"y", {DType::f32, std::nullopt}});
    session_ = std::make_unique<Session>(one, options);
  }
  Tensor run(const Tensor& x) { return session_->run({{"i0", x}}).at(0); }

 private:
  std::unique_ptr<Session> session_;
};

bool multiplies(const Node& node) {
  return node.is("Conv") || node.is("ConvTranspose") || node.is("Gemm") || node.is("MatMul");
}

class Meter {
 public:
  Meter(const Graph& float_graph, const Graph& quantized, const NoiseOptions& options)
      : graph_(float_graph), options_(options), outputs_(judged_values(float_graph)) {
    find_values(quantized);
    find_weights(quantized);
    std::vector<std::string> taps;
    const auto tap = [&](const std::string& value) {
      const auto [at, is_new] = tap_.emplace(value, taps.size());
      if (is_new) taps.push_back(value);
      return at->second;
    };
    for (const NoiseSource& source : sources_)
      for (const std::string& value : source.values) tap(value);
    for (const auto& [source, weight] : weights_) {
      tap(graph_.nodes[sources_[source].node].input(0));
      tap(graph_.nodes[sources_[source].node].outputs[0]);
    }
    for (const std::string& output : outputs_) judged_.push_back(tap(output));
    actions_.resize(taps.size());
    for (std::size_t s = 0; s < sources_.size(); ++s)
      for (const std::string& value : sources_[s].values) actions_[tap_.at(value)].values.push_back(s);
    for (const auto& [source, weight] : weights_)
      actions_[tap_.at(graph_.nodes[sources_[source].node].outputs[0])].weights.push_back(source);
    if (!taps.empty())
      session_.emplace(graph_, taps,
                       SessionOptions{.threads = options.threads, .max_isa = options.max_isa, .shapes = options.shapes});
  }

  Noise run(const Samples& samples) {
    Noise result;
    if (sources_.empty() || samples.size() == 0 || outputs_.empty()) return result;
    std::size_t count = std::min(options_.samples, samples.size());
    powers_.assign(sources_.size(), std::vector<Powers>(outputs_.size()));
    local_.assign(sources_.size(), {});
    saturated_.assign(sources_.size(), 0);
    dead_.assign(sources_.size(), 0);
    elements_.assign(sources_.size(), 0);
    errors_16_.assign(sources_.size(), 0);
    std::vector<std::size_t> order(sources_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (std::size_t k = 0; k < count; ++k) {
      const Feeds feeds = samples.get(k * samples.size() / count);
      learn(feeds);
      if (k == 0) {
        // What a run takes is known now: fewer samples, at last only the sources that are worst where they stand.
        const double each = std::max(1.0, static_cast<double>(macs_of_run()));
        const double runs = options_.most_macs / each;
        if (runs < static_cast<double>(sources_.size() * count))
          count = std::max<std::size_t>(1, static_cast<std::size_t>(runs / static_cast<double>(sources_.size())));
        std::stable_sort(order.begin(), order.end(),
                         [&](std::size_t a, std::size_t b) { return local_[a].ratio() > local_[b].ratio(); });
        order.resize(std::min<std::size_t>(order.size(), std::max<std::size_t>(8, static_cast<std::size_t>(runs))));
      }
      for (std::size_t i = 0; i < order.size(); ++i) {
        if (options_.interrupt && *options_.interrupt)
          throw Error(ErrorCode::kInterrupted, "sensitivity", "stopped by the user");
        perturb(feeds, order[i]);
        if (options_.progress) options_.progress(k * order.size() + i + 1, count * order.size());
      }
      result.samples = k + 1;
    }
    fill(order);
    result.measured = order.size();
    for (const NoiseSource& source : sources_) result.total += source.noise;
    std::stable_sort(sources_.begin(), sources_.end(), [](const auto& a, const auto& b) { return a.noise > b.noise; });
    result.sources = std::move(sources_);
    return result;
  }

 private:
  struct Action {
    std::vector<std::size_t> values, weights;  // sources
  };
  struct Weight {
    std::unique_ptr<Alone> alone;
    std::vector<float> bias;  // what a bias behind the product changes by, a channel of the last axis
    Tensor error;             // of the present sample
  };

  void find_values(const Graph& quantized) {
    const QParamsMap qparams = activation_qparams(graph_, quantized);
    std::map<std::string, std::size_t> group_of;
    for (std::size_t g = 0; g < options_.groups.size(); ++g)
      for (const std::string& value : options_.groups[g]) group_of[value] = g;
    std::map<std::size_t, std::size_t> by_group;
    std::map<std::tuple<DType, int, float, std::int32_t>, std::size_t> by_parameters;
    const auto add = [&](const std::string& value) {
      const auto found = qparams.find(value);
      if (found == qparams.end()) return;
      const QParams& parameters = found->second;
      if (const auto group = group_of.find(value); group != group_of.end()) {
        const auto [at, is_new] = by_group.emplace(group->second, sources_.size());
        if (is_new) sources_.push_back({.qparams = parameters});
        sources_[at->second].values.push_back(value);
        return;
      }
      const auto [at, is_new] = by_parameters.emplace(
          std::tuple(parameters.dtype, parameters.bits, parameters.scale[0], parameters.zero_point[0]), sources_.size());
      if (is_new) sources_.push_back({.qparams = parameters});
      sources_[at->second].values.push_back(value);
    };
    for (const ValueInfo& input : graph_.inputs) add(input.name);
    for (const Node& node : graph_.nodes)
      for (const std::string& output : node.outputs) add(output);
    for (const NoiseSource& source : sources_) quantizers_.emplace_back(source.qparams);
  }

  void find_weights(const Graph& quantized) {
    const std::map<std::string, const Node*> same = same_nodes(graph_, quantized), makers = makers_of(quantized);
    const Uses uses = find_uses(graph_);
    for (std::size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (!multiplies(node)) continue;
      const Tensor* weight = graph_.constant(node.input(1));
      const auto found = same.find(node.outputs[0]);
      if (!weight || weight->dtype() != DType::f32 || found == same.end()) continue;
      const std::optional<Tensor> other = constant_in_floats(quantized, makers, found->second->input(1));
      if (!other || other->dims() != weight->dims()) continue;
      std::map<std::size_t, Tensor> constants = {{1, *other}};
      bool changed = !equal_bytes(*other, *weight);
      if (!node.input(2).empty())
        if (std::optional<Tensor> bias = constant_in_floats(quantized, makers, found->second->input(2));
            bias && graph_.constant(node.input(2))) {
          changed = changed || !equal_bytes(*bias, *graph_.constant(node.input(2)));
          constants.emplace(
              2, bias->reshaped(bias->size() == graph_.constant(node.input(2))->size() ? graph_.constant(node.input(2))->dims()
                                                                                       : bias->dims()));
        }
      if (!changed) continue;
      Weight added;
      if (node.is("MatMul")) added.bias = change_of_bias_behind(node, uses, same, quantized, makers);
      const std::size_t rank = node.is("MatMul") ? 0 : weight->rank();
      added.alone = nullptr;
      pending_.push_back({sources_.size(), std::move(constants), rank});
      weights_.emplace(sources_.size(), std::move(added));
      sources_.push_back({.weight = node.input(1), .node = n});
    }
  }

  // The constant of the Add behind a product: quantized minus float.
  std::vector<float> change_of_bias_behind(const Node& node, const Uses& uses, const std::map<std::string, const Node*>& same,
                                           const Graph& quantized, const std::map<std::string, const Node*>& makers) const {
    const auto readers = uses.consumers.find(node.outputs[0]);
    if (readers == uses.consumers.end() || readers->second.size() != 1) return {};
    const Node& add = graph_.nodes[readers->second.front()];
    if (!add.is("Add")) return {};
    const std::size_t at = add.input(0) == node.outputs[0] ? 1 : 0;
    const Tensor* bias = graph_.constant(add.input(at));
    const auto found = same.find(add.outputs[0]);
    if (!bias || bias->dtype() != DType::f32 || found == same.end()) return {};
    const std::optional<Tensor> other = constant_in_floats(quantized, makers, found->second->input(at));
    const std::int64_t channels = graph_.constant(node.input(1))->dims().back();
    if (!other || other->size() != bias->size() || bias->size() != channels) return {};
    std::vector<float> change(static_cast<std::size_t>(channels));
    for (std::size_t c = 0; c < change.size(); ++c) change[c] = other->values<float>()[c] - bias->values<float>()[c];
    return change;
  }

  std::int64_t macs_of_run() const {
    std::int64_t macs = 0;
    for (const StepInfo& step : session_->session().steps()) macs += step.macs;
    return macs;
  }

  // The float run: outputs, what stands at each quantizer, and the errors that quantized weights make.
  void learn(const Feeds& feeds) {
    reference_.assign(outputs_.size(), {});
    std::map<std::size_t, Tensor> x;
    std::set<std::size_t> read_by_weights;
    for (const auto& [source, weight] : weights_) read_by_weights.insert(tap_.at(graph_.nodes[sources_[source].node].input(0)));
    std::map<std::size_t, Tensor> made;
    session_->run(feeds, [&](const TapView& view) {
      for (const std::size_t s : actions_[view.index].values) observe(s, view.values);
      if (read_by_weights.contains(view.index)) x[view.index] = copy_of(view);
      if (!actions_[view.index].weights.empty()) made[view.index] = copy_of(view);
      for (std::size_t k = 0; k < judged_.size(); ++k)
        if (judged_[k] == view.index) reference_[k].assign(view.values.begin(), view.values.end());
    });
    for (auto& [source, weight] : weights_) {
      const Node& node = graph_.nodes[sources_[source].node];
      const auto in = x.find(tap_.at(node.input(0))), out = made.find(tap_.at(node.outputs[0]));
      weight.error = Tensor();
      if (in == x.end() || out == made.end()) continue;
      if (!weight.alone) {
        const auto& pending =
            *std::find_if(pending_.begin(), pending_.end(), [&, s = source](const auto& each) { return each.source == s; });
        weight.alone = std::make_unique<Alone>(graph_, node, pending.constants, in->second.rank(),
                                               SessionOptions{.threads = options_.threads, .max_isa = options_.max_isa});
      }
      Tensor y = weight.alone->run(in->second);
      if (y.size() != out->second.size()) continue;
      const auto error = y.mutable_values<float>();
      const auto exact = out->second.values<float>();
      for (std::size_t i = 0; i < error.size(); ++i) {
        error[i] -= exact[i];
        if (!weight.bias.empty()) error[i] += weight.bias[i % weight.bias.size()];
        local_[source].error += static_cast<double>(error[i]) * static_cast<double>(error[i]);
        local_[source].signal += static_cast<double>(exact[i]) * static_cast<double>(exact[i]);
      }
      weight.error = std::move(y);
    }
  }

  void observe(std::size_t s, std::span<const float> values) {
    const Quantizer &quantizer = quantizers_[s], wide = quantizer.wide();
    for (const float x : values) {
      const float y = quantizer(x);
      const double error_16 = static_cast<double>(x) - static_cast<double>(wide(x));
      errors_16_[s] += error_16 * error_16;
      const double error = static_cast<double>(x) - static_cast<double>(y);
      local_[s].error += error * error;
      local_[s].signal += static_cast<double>(x) * static_cast<double>(x);
      saturated_[s] += quantizer.saturates(x);
      dead_[s] += x != 0 && y == 0;
    }
    elements_[s] += values.size();
  }

  void perturb(const Feeds& feeds, std::size_t s) {
    std::vector<Powers>& powers = powers_[s];
    session_->run_altered(feeds, [&](const TapView& view, std::span<float> values) {
      const Action& action = actions_[view.index];
      if (std::find(action.values.begin(), action.values.end(), s) != action.values.end())
        for (float& x : values) x = quantizers_[s](x);
      if (std::find(action.weights.begin(), action.weights.end(), s) != action.weights.end())
        if (const Tensor& error = weights_.at(s).error; static_cast<std::size_t>(error.size()) == values.size()) {
          const auto added = error.values<float>();
          for_each_place(view, [&](std::size_t i, std::size_t place) { values[place] += added[i]; });
        }
      for (std::size_t k = 0; k < judged_.size(); ++k) {
        if (judged_[k] != view.index || reference_[k].size() != values.size()) continue;
        for (std::size_t i = 0; i < values.size(); ++i) {
          const double x = static_cast<double>(reference_[k][i]), error = x - static_cast<double>(values[i]);
          if (!std::isfinite(x)) continue;
          powers[k].error += std::isfinite(error) ? error * error : std::numeric_limits<double>::infinity();
          powers[k].signal += x * x;
        }
      }
    });
  }

  void fill(const std::vector<std::size_t>& measured) {
    std::vector<double> gains;
    for (const std::size_t s : measured) {
      NoiseSource& source = sources_[s];
      for (const Powers& power : powers_[s]) source.noise += power.ratio() / static_cast<double>(outputs_.size());
      source.measured = true;
      if (local_[s].ratio() > 0) gains.push_back(source.noise / local_[s].ratio());
    }
    // The others by what a median source lets through.
    double gain = 0;
    if (!gains.empty()) {
      std::nth_element(gains.begin(), gains.begin() + static_cast<std::ptrdiff_t>(gains.size() / 2), gains.end());
      gain = gains[gains.size() / 2];
    }
    for (std::size_t s = 0; s < sources_.size(); ++s) {
      NoiseSource& source = sources_[s];
      source.local = local_[s].ratio();
      if (local_[s].error > 0) source.local_16 = source.local * std::min(1.0, errors_16_[s] / local_[s].error);
      if (!source.measured) source.noise = gain * source.local;
      if (elements_[s] == 0) continue;
      source.saturated = static_cast<double>(saturated_[s]) / static_cast<double>(elements_[s]);
      source.dead = static_cast<double>(dead_[s]) / static_cast<double>(elements_[s]);
    }
  }

  struct Pending {
    std::size_t source;
    std::map<std::size_t, Tensor> constants;
    std::size_t rank;
  };

  const Graph& graph_;
  const NoiseOptions& options_;
  std::vector<std::string> outputs_;
  std::vector<NoiseSource> sources_;
  std::vector<Quantizer> quantizers_;  // of the sources that are values: the first ones
  std::map<std::size_t, Weight> weights_;
  std::vector<Pending> pending_;
  std::map<std::string, std::size_t> tap_;
  std::vector<std::size_t> judged_;  // taps
  std::vector<Action> actions_;      // by tap
  std::optional<TapSession> session_;
  std::vector<std::vector<float>> reference_;
  std::vector<std::vector<Powers>> powers_;  // [source][output]
  std::vector<Powers> local_;
  std::vector<double> errors_16_;
  std::vector<std::uint64_t> saturated_, dead_, elements_;
};

}  // namespace

Noise measure_noise(const Graph& float_graph, const Graph& quantized, const Samples& samples, const NoiseOptions& options) {
  return Meter(float_graph, quantized, options).run(samples);
}

double decibels(double noise_to_signal) {
  return noise_to_signal <= 0 ? std::numeric_limits<double>::infinity() : -10 * std::log10(noise_to_signal);
}

std::vector<std::string> judged_values(const Graph& graph) {
  const std::map<std::string, const Node*> makers = makers_of(graph);
  Graph typed = graph;
  ops::infer_shapes(typed);
  const ValueIndex values(typed);
  std::vector<std::string> result;
  for (const ValueInfo& output : graph.outputs) {
    if (values.type_of(output.name).dtype != DType::f32 || !makers.contains(output.name)) continue;
    std::string judged = output.name;
    // A Reshape or the like between changes nothing.
    for (auto maker = makers.find(judged); maker != makers.end(); maker = makers.find(judged)) {
      const Node& node = *maker->second;
      const bool moves = node.is("Reshape") || node.is("Squeeze") || node.is("Unsqueeze") || node.is("Flatten") ||
                         node.is("Identity") || node.is("Transpose");
      const bool squashes = node.is("Softmax") || node.is("LogSoftmax") || node.is("Sigmoid");
      if (!moves && !squashes) break;
      if (graph.constant(node.input(0)) || values.type_of(node.input(0)).dtype != DType::f32) break;
      if (squashes) {
        result.push_back(node.input(0));
        judged.clear();
        break;
      }
      judged = node.input(0);
    }
    if (!judged.empty()) result.push_back(output.name);
  }
  return result;
}

QParamsMap activation_qparams(const Graph& float_graph, const Graph& quantized) {
  const QParamsMap by_quantized = activation_qparams(quantized);
  QParamsMap result;
  for (const ValuePair& pair : pair_values(float_graph, quantized)) {
    const auto found = by_quantized.find(pair.in_quantized);
    if (found == by_quantized.end() || found->second.scale.size() != 1) continue;
    result.emplace(pair.in_float, found->second);
  }
  return result;
}

}  // namespace zeropoint::analyze
