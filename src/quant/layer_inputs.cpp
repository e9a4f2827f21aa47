#include "quant/layer_inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <utility>

#include "base/splitmix64.h"
#include "base/thread_pool.h"
#include "engine/tap.h"
#include "ops/window.h"
#include "quant/matrix.h"
#include "zeropoint/error.h"
#include "zeropoint/insert_qdq.h"
#include "zeropoint/session.h"

namespace zeropoint::quant {
namespace {

constexpr std::int64_t kLeastRows = 256;  // of a layer whose rows are very long

// `count` of the places below `size`, ascending: one by chance in each of as many equal parts.
std::vector<std::int64_t> draw(std::int64_t size, std::int64_t count, std::uint64_t seed) {
  std::vector<std::int64_t> places;
  for (std::int64_t i = 0; i < std::min(size, count); ++i) {
    if (size <= count) {
      places.push_back(i);
      continue;
    }
    const std::int64_t begin = i * size / count, end = (i + 1) * size / count;
    places.push_back(begin + static_cast<std::int64_t>(splitmix64(seed + static_cast<std::uint64_t>(i)) %
                                                       static_cast<std::uint64_t>(end - begin)));
  }
  return places;
}

// A layer's output [batch, outputs, places] or [places, outputs] by position and channel.
struct OutputView {
  explicit OutputView(const TapView& view, bool convolution) {
    const std::span<const std::int64_t> dims = view.dims;
    data = view.values.data();
    const auto size = static_cast<std::int64_t>(view.values.size());
    if (convolution) {
      const std::int64_t channels = dims[1];
      const std::int64_t each = dims[0] * channels == 0 ? 0 : size / (dims[0] * channels);
      positions = dims[0] * each;
      inner = view.channel_last ? 1 : each;
      channel = view.channel_last ? 1 : each;
      position = view.channel_last ? channels : 1;
      batch = channels * each;
      return;
    }
    if (view.channel_last && dims.size() > 2) {  // [N, rest, C] of [N, C, rest]
      const std::int64_t channels = dims[1], rest = dims[0] * channels == 0 ? 0 : size / (dims[0] * channels);
      copy.resize(view.values.size());
      for (std::int64_t n = 0; n < dims[0]; ++n)
        for (std::int64_t r = 0; r < rest; ++r)
          for (std::int64_t c = 0; c < channels; ++c)
            copy[at((n * channels + c) * rest + r)] = view.values[at((n * rest + r) * channels + c)];
      data = copy.data();
    }
    position = dims.back();
    positions = position == 0 ? 0 : size / position;
  }
  float operator()(std::int64_t place, std::int64_t c) const {
    if (inner <= 1) return data[place * position + c * channel];
    return data[place / inner * batch + c * channel + place % inner * position];
  }

  std::int64_t positions = 0;

 private:
  const float* data = nullptr;
  std::vector<float> copy;
  std::int64_t inner = 1, batch = 0, channel = 1, position = 1;
};

// Patches of a convolution's input, or rows of a product's.
class InputView {
 public:
  InputView(const Node& node, const Layer& layer, const Tensor& x, const Tensor& weight)
      : layer_(layer), dims_(x.dims()), values_(x.values<float>()) {
    if (!node.is("Conv")) return;
    std::vector<Dim> spatial;
    for (std::size_t i = 2; i < dims_.size(); ++i) spatial.emplace_back(dims_[i]);
    std::vector<std::int64_t> kernel(weight.dims().begin() + 2, weight.dims().end());
    axes_ = ops::as_three(node, ops::window_axes(node, spatial, std::move(kernel)));
    outputs_ = axes_[0].output * axes_[1].output * axes_[2].output;
  }

  // [groups, depth]
  void copy(std::int64_t position, float* to) const {
    if (axes_.empty()) {
      std::copy_n(values_.data() + position * layer_.depth, layer_.depth, to);
      return;
    }
    const std::int64_t n = position / outputs_, place = position % outputs_;
    const std::int64_t channels = dims_[1], size = axes_[0].input * axes_[1].input * axes_[2].input;
    std::int64_t start[3];
    const std::int64_t out[3] = {place / (axes_[1].output * axes_[2].output), place / axes_[2].output % axes_[1].output,
                                 place % axes_[2].output};
    for (int a = 0; a < 3; ++a) start[a] = out[a] * axes_[at(a)].stride - axes_[at(a)].pad_begin;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float* from = values_.data() + (n * channels + c) * size;
      for (std::int64_t d = 0; d < axes_[0].kernel; ++d)
        for (std::int64_t h = 0; h < axes_[1].kernel; ++h)
          for (std::int64_t w = 0; w < axes_[2].kernel; ++w) {
            const std::int64_t z = start[0] + d * axes_[0].dilation, y = start[1] + h * axes_[1].dilation,
                               x = start[2] + w * axes_[2].dilation;
            const bool inside = z >= 0 && z < axes_[0].input && y >= 0 && y < axes_[1].input && x >= 0 && x < axes_[2].input;
            *to++ = inside ? from[(z * axes_[1].input + y) * axes_[2].input + x] : 0.0F;
          }
    }
  }

 private:
  const Layer& layer_;
  const Dims& dims_;
  std::span<const float> values_;
  std::vector<ops::WindowAxis> axes_;
  std::int64_t outputs_ = 1;
};

// As insert_qdq does with an input.
Tensor quantized_input(const Tensor& x, const QParams& qparams) {
  return dequantize_tensor(quantize_tensor(x, qparams), qparams);
}

}  // namespace

std::vector<Layer> find_layers(const Graph& graph, const QParamsMap& qparams) {
  std::vector<Layer> layers;
  std::set<std::string> weights;
  std::map<std::string, std::size_t> waves;  // of values: layers on the longest way to them
  for (std::size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    std::size_t wave = 0;
    for (const std::string& value : values_read(node))
      if (const auto found = waves.find(value); found != waves.end()) wave = std::max(wave, found->second);
    const bool convolution = node.is("Conv"), gemm = node.is("Gemm");
    const Tensor* weight = convolution || gemm || node.is("MatMul") ? graph.constant(node.input(1)) : nullptr;
    const bool matrix = weight && weight->dtype() == DType::f32 &&
                        (convolution ? weight->rank() >= 3 && weight->rank() <= 5 : weight->rank() == 2) &&
                        !(gemm && node.get_int("transA", 0) != 0) && weight->size() > 0;
    if (matrix && qparams.contains(node.input(0)) && qparams.contains(node.input(1)) && weights.insert(node.input(1)).second) {
      Layer layer{.node = n, .input = node.input(0), .weight = node.input(1), .output = node.outputs[0], .wave = wave++};
      layer.transposed = node.is("MatMul") || (gemm && node.get_int("transB", 0) == 0);
      layer.groups = convolution ? node.get_int("group", 1) : 1;
      layer.outputs = weight->dim(layer.transposed ? 1 : 0);
      layer.depth = weight->size() / layer.outputs;
      layers.push_back(std::move(layer));
    }
    for (const std::string& output : node.outputs) waves[output] = wave;
  }
  return layers;
}

Graph part_that_makes(const Graph& graph, const std::vector<std::string>& values) {
  std::set<std::string> needed(values.begin(), values.end());
  Graph part = graph;
  part.outputs.clear();
  for (const std::string& value : values) part.outputs.push_back({value, graph.type_of(value)});
  part.nodes.clear();
  for (std::size_t n = graph.nodes.size(); n > 0; --n) {
    const Node& node = graph.nodes[n - 1];
    if (std::none_of(node.outputs.begin(), node.outputs.end(), [&](const std::string& each) { return needed.contains(each); }))
      continue;
    for (const std::string& value : values_read(node)) needed.insert(value);
    part.nodes.push_back(node);
  }
  std::reverse(part.nodes.begin(), part.nodes.end());
  remove_unused_values(part);
  return part;
}

LayerInputs::LayerInputs(const Graph& graph, std::vector<Layer> layers, const Samples& samples, const StepOptions& options,
                         const RowOptions& how)
    : graph_(graph), layers_(std::move(layers)), samples_(samples), options_(options), how_(how) {
  std::stable_sort(layers_.begin(), layers_.end(), [](const Layer& a, const Layer& b) { return a.wave < b.wave; });
  const auto size = static_cast<std::int64_t>(samples.size());
  if (size == 0) throw Error(ErrorCode::kBadSample, "samples", "there are none");
  for (const std::int64_t index : draw(size, how.samples, splitmix64(how.seed))) chosen_.push_back(at(index));
  threads_ = options.threads > 0 ? options.threads : physical_cores();
  threads_ = std::clamp<int>(threads_, 1, static_cast<int>(chosen_.size()));
  places_.resize(layers_.size());
  targets_.resize(layers_.size());
}

// Calls work(session, index into chosen_, feeds), each index once.
template <class Work>
void LayerInputs::for_each_sample(const Graph& graph, std::vector<std::string> taps, const Work& work) {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::exception_ptr error;
  std::size_t failed = 0;
  ThreadPool pool(threads_);
  pool.run([&](int) {
    std::size_t index = 0;
    try {
      TapSession session(graph, taps, {.threads = 1, .max_isa = options_.max_isa, .shapes = options_.shapes});
      while (!stop && (index = next++) < chosen_.size()) {
        if (options_.interrupt && *options_.interrupt) throw Error(ErrorCode::kInterrupted, "quantize", "stopped by the user");
        work(session, index, samples_.get(chosen_[index]));
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error || index < failed) {
        error = std::current_exception();
        failed = index;
      }
      stop = true;
    }
  });
  if (error) std::rethrow_exception(error);
}

void LayerInputs::collect_targets(std::size_t first) {
  const auto samples = static_cast<std::int64_t>(chosen_.size());
  std::vector<std::int64_t> rows;  // of a sample, by layer from `first`
  std::uint64_t bytes = 0;
  for (std::size_t i = first; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    const auto row_bytes = static_cast<std::int64_t>(sizeof(float)) * layer.groups * layer.depth;
    const std::int64_t most =
        std::clamp(static_cast<std::int64_t>(how_.input_bytes) / row_bytes, std::min(kLeastRows, how_.rows), how_.rows);
    const std::int64_t each = (most + samples - 1) / samples;
    bytes += static_cast<std::uint64_t>(each * samples * layer.outputs) * sizeof(float);
    if (i > first && bytes > how_.target_bytes) break;
    rows.push_back(each);
  }
  std::vector<std::string> taps;
  for (std::size_t i = 0; i < rows.size(); ++i) taps.push_back(layers_[first + i].output);
  struct Part {
    std::vector<Place> places;
    std::vector<float> target;
  };
  std::vector<std::vector<Part>> parts(rows.size(), std::vector<Part>(chosen_.size()));  // by layer and sample
  for_each_sample(part_that_makes(graph_, taps), taps, [&](TapSession& session, std::size_t index, const Feeds& feeds) {
    session.run(feeds, [&](const TapView& view) {
      const std::size_t i = first + view.index;
      const Layer& layer = layers_[i];
      const OutputView output(view, graph_.nodes[layer.node].is("Conv"));
      Part& part = parts[view.index][index];
      const std::uint64_t seed = splitmix64(splitmix64(how_.seed + i + 1) + chosen_[index]);
      for (const std::int64_t position : draw(output.positions, rows[view.index], seed)) {
        part.places.push_back({index, position});
        for (std::int64_t o = 0; o < layer.outputs; ++o) part.target.push_back(output(position, o));
      }
    });
  });
  for (std::size_t i = 0; i < rows.size(); ++i) {
    places_[first + i].clear();
    for (Part& part : parts[i]) {
      places_[first + i].insert(places_[first + i].end(), part.places.begin(), part.places.end());
      targets_[first + i].insert(targets_[first + i].end(), part.target.begin(), part.target.end());
      part = {};
    }
  }
}

std::vector<LayerRows> LayerInputs::rows_of(const std::vector<std::size_t>& layers, const Graph& current,
                                            const QParamsMap& qparams) {
  std::vector<LayerRows> result(layers.size());
  std::vector<std::string> values;  // made by nodes
  std::map<std::string, std::size_t> made;
  const Uses uses = find_uses(graph_);
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const std::size_t i = layers[l];
    const Layer& layer = layers_[i];
    if (places_[i].empty() && targets_[i].empty()) collect_targets(i);
    result[l] = {.rows = static_cast<std::int64_t>(places_[i].size()),
                 .groups = layer.groups,
                 .depth = layer.depth,
                 .outputs = layer.outputs,
                 .x = std::vector<float>(places_[i].size() * at(layer.groups * layer.depth)),
                 .target = std::move(targets_[i])};
    if (uses.producer.contains(layer.input) && made.emplace(layer.input, values.size()).second) values.push_back(layer.input);
  }
  const auto fill = [&](std::size_t sample, const std::vector<Tensor>& outputs, const Feeds& feeds) {
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const Layer& layer = layers_[layers[l]];
      const std::vector<Place>& places = places_[layers[l]];
      const auto begin = std::partition_point(places.begin(), places.end(), [&](const Place& p) { return p.sample < sample; });
      if (begin == places.end() || begin->sample != sample) continue;
      const auto found = made.find(layer.input);
      const Tensor x =
          found != made.end() ? outputs[found->second] : quantized_input(feeds.at(layer.input), qparams.at(layer.input));
      const InputView view(graph_.nodes[layer.node], layer, x, *graph_.constant(layer.weight));
      const std::int64_t width = layer.groups * layer.depth;
      for (auto place = begin; place != places.end() && place->sample == sample; ++place)
        view.copy(place->position, result[l].x.data() + (place - places.begin()) * width);
    }
  };
  if (values.empty()) {
    for (std::size_t s = 0; s < chosen_.size(); ++s) fill(s, {}, samples_.get(chosen_[s]));
  } else {
    Graph part = part_that_makes(current, values);
    QParamsMap needed;
    const Uses left = find_uses(part);
    for (const auto& [value, parameters] : qparams)
      if (part.constant(value) || left.producer.contains(value) ||
          std::any_of(part.inputs.begin(), part.inputs.end(), [&](const ValueInfo& info) { return info.name == value; }))
        needed.emplace(value, parameters);
    for_each_sample(insert_qdq(std::move(part), needed), {}, [&](TapSession& session, std::size_t s, const Feeds& feeds) {
      fill(s, session.run(feeds, [](const TapView&) {}), feeds);
    });
  }
  for (const std::size_t i : layers) std::vector<Place>().swap(places_[i]);
  return result;
}

}  // namespace zeropoint::quant
