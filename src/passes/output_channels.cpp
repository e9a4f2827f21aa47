#include "passes/output_channels.h"

#include <algorithm>

namespace zeropoint::passes {
namespace {

const Tensor* constant_f32(const Graph& graph, const std::string& value) {
  const Tensor* tensor = value.empty() ? nullptr : graph.constant(value);
  return tensor != nullptr && tensor->dtype() == DType::f32 ? tensor : nullptr;
}

// Which output channel element i of the weights belongs to: i / inner % outer, plus the group's first channel.
struct ChannelLayout {
  std::size_t channels, inner, outer, group_elements;
  std::size_t operator()(std::size_t i) const {
    return i / inner % outer + (group_elements == 0 ? 0 : i / group_elements * outer);
  }
};

std::optional<ChannelLayout> layout(const Graph& graph, const Node& node) {
  const Tensor* w = constant_f32(graph, node.input(1));
  if (w == nullptr || w->size() == 0) return std::nullopt;
  const auto size = static_cast<std::size_t>(w->size());
  if (node.is("Conv") && w->rank() >= 3) {
    const auto O = static_cast<std::size_t>(w->dim(0));
    return ChannelLayout{O, size / O, O, 0};
  }
  if (node.is("ConvTranspose") && w->rank() >= 3) {  // [C, O / groups, ...]
    const auto per_group = static_cast<std::size_t>(w->dim(1)),
               groups = static_cast<std::size_t>(std::max<std::int64_t>(1, node.get_int("group", 1)));
    const std::size_t kernel = size / static_cast<std::size_t>(w->dim(0) * w->dim(1));
    return ChannelLayout{per_group * groups, kernel, per_group, size / groups};
  }
  if (node.is("Gemm") && w->rank() == 2) {
    const bool flip = node.get_int("transB", 0) != 0;
    const auto N = static_cast<std::size_t>(w->dim(flip ? 0 : 1));
    return ChannelLayout{N, flip ? size / N : 1, N, 0};
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::size_t> output_channels(const Graph& graph, const Node& node) {
  const auto found = layout(graph, node);
  if (!found) return std::nullopt;
  if (node.input(2).empty()) return found->channels;
  const Tensor* bias = constant_f32(graph, node.input(2));
  if (bias == nullptr) return std::nullopt;
  const auto size = static_cast<std::size_t>(bias->size());
  const bool one_a_channel = size == found->channels && bias->rank() >= 1 && bias->dims().back() == bias->size();
  // Gemm's C also broadcasts from a single number.
  if (!one_a_channel && !(node.is("Gemm") && size == 1)) return std::nullopt;
  return found->channels;
}

void scale_output(Graph& graph, Rewrite& rewrite, Node& node, const std::vector<double>& factor,
                  const std::vector<double>& summand) {
  const ChannelLayout channel = *layout(graph, node);
  const Tensor old_weights = *graph.constant(node.inputs[1]);
  Tensor weights(DType::f32, old_weights.dims());
  const auto src = old_weights.values<float>();
  const auto dst = weights.mutable_values<float>();
  for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = static_cast<float>(static_cast<double>(src[i]) * factor[channel(i)]);
  if (std::any_of(factor.begin(), factor.end(), [](double value) { return value != 1; }))
    node.inputs[1] = rewrite.replace_initializer(node.inputs[1], std::move(weights));

  Tensor bias(DType::f32, {static_cast<std::int64_t>(channel.channels)});
  const auto sum = bias.mutable_values<float>();
  const Tensor* old_bias = node.input(2).empty() ? nullptr : graph.constant(node.inputs[2]);
  const double beta = node.is("Gemm") ? static_cast<double>(node.get_float("beta", 1)) : 1;
  for (std::size_t c = 0; c < sum.size(); ++c) {
    const double before =
        old_bias == nullptr ? 0 : beta * static_cast<double>(old_bias->values<float>()[old_bias->size() == 1 ? 0 : c]);
    sum[c] = static_cast<float>(before * factor[c] + summand[c]);
  }
  node.attributes.erase("beta");
  if (old_bias != nullptr) {
    node.inputs[2] = rewrite.replace_initializer(node.inputs[2], std::move(bias));
  } else {
    node.inputs.resize(3);
    node.inputs[2] = rewrite.fresh_name(node.inputs[1] + "_bias");
    graph.initializers.emplace(node.inputs[2], std::move(bias));
    rewrite.changed();
  }
}

}  // namespace zeropoint::passes
