// com.microsoft's Attention and QAttention: x [B,S,I] times weights [I, q + k + v] plus bias gives Q, K and V of all heads;
// then softmax(scale * Q K' + mask) V. Masked keys get mask_filter_value, keys behind the query (unidirectional) the lowest
// number.
#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "ops/attention.h"
#include "ops/families.h"
#include "ops/matmul.h"
#include "ops/quantized.h"

namespace zeropoint::ops {
namespace {

// Where the inputs of each form lie; QAttention has no attention bias.
struct Places {
  std::size_t bias, mask, past, summand;
};
Places places(const Node& node) {
  return node.op_type == "QAttention" ? Places{2, 5, 8, static_cast<std::size_t>(-1)} : Places{2, 3, 4, 5};
}

struct Hidden {
  std::int64_t heads, q, k, v;
};

// Throws when the columns of the weights do not split.
Hidden hidden_sizes(const Node& node, std::int64_t columns) {
  const std::int64_t heads = node.get_int("num_heads", 0);
  if (heads < 1 || heads > (1 << 20)) fail(ErrorCode::kBadAttribute, node, fmt::format("num_heads is {}", heads));
  std::vector<std::int64_t> sizes = node.get_ints("qkv_hidden_sizes");
  if (sizes.empty()) sizes.assign(3, columns / 3);
  for (const std::int64_t size : sizes)
    if (size < 0 || size > columns || size % heads != 0)
      fail(ErrorCode::kBadAttribute, node, fmt::format("{} columns do not split into {} heads", size, heads));
  if (sizes.size() != 3 || sizes[0] != sizes[1] || sizes[0] + sizes[1] + sizes[2] != columns)
    fail(ErrorCode::kBadAttribute, node, fmt::format("weights of {} columns do not split into Q, K and V", columns));
  return {heads, sizes[0], sizes[1], sizes[2]};
}

std::vector<TensorType> shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const Places at = places(node);
  const auto &x = args.inputs[0].shape, &w = args.inputs[1].shape;
  const DType dtype = args.inputs[at.bias].dtype != DType::undefined ? args.inputs[at.bias].dtype : args.inputs[0].dtype;
  if (node.get_int("do_rotary", 0) != 0) fail(ErrorCode::kUnsupported, node, "do_rotary does not run");
  if (node.get_int("past_present_share_buffer", 0) != 0)
    fail(ErrorCode::kUnsupported, node, "past_present_share_buffer does not run");
  std::vector<TensorType> types = {{dtype, std::nullopt}, {dtype, std::nullopt}};
  if (x && x->size() != 3) fail(ErrorCode::kBadShape, node, "input " + to_string(*x) + " must have 3 axes");
  if (w && w->size() != 2) fail(ErrorCode::kBadShape, node, "weights " + to_string(*w) + " must have 2 axes");
  if (!x || !w) return types;
  merge(node, (*x)[2], (*w)[0]);
  if (!(*w)[1].fixed()) return types;
  const Hidden hidden = hidden_sizes(node, (*w)[1].value);
  const auto& bias = args.inputs[at.bias].shape;
  if (bias && (bias->size() != 1 || ((*bias)[0].fixed() && (*bias)[0] != (*w)[1])))
    fail(ErrorCode::kBadShape, node, "bias " + to_string(*bias) + " does not fit the weights");
  Dim total = (*x)[1];
  if (present(args.inputs[at.past])) {
    total = Dim();
    if (const auto& past = args.inputs[at.past].shape) {
      if (past->size() != 5) fail(ErrorCode::kBadShape, node, "past " + to_string(*past) + " must have 5 axes");
      const Shape wanted = {Dim(2), (*x)[0], Dim(hidden.heads), Dim(), Dim(hidden.k / hidden.heads)};
      for (std::size_t i = 0; i < 5; ++i)
        if (i != 3) merge(node, (*past)[i], wanted[i]);
      if (hidden.k != hidden.v) fail(ErrorCode::kUnsupported, node, "past with different heads of K and V does not run");
      if ((*past)[3].fixed() && (*x)[1].fixed()) total = Dim((*past)[3].value + (*x)[1].value);
    }
  }
  types[0].shape = Shape{(*x)[0], (*x)[1], Dim(hidden.v)};
  types[1].shape = Shape{Dim(2), (*x)[0], Dim(hidden.heads), total, Dim(hidden.k / hidden.heads)};
  return types;
}

// What is added to the scores of one query, [B,S,T]; empty without a mask.
template <class T>
std::vector<T> read_mask(const Node& node, const Tensor& mask, const AttentionSizes& sizes, T filter) {
  if (!mask.defined()) return {};
  const auto [B, heads, kv_heads, S, total, D, V] = sizes;
  const std::vector<std::int64_t> values = ints(mask);
  const Dims& dims = mask.dims();
  if (dims.size() == 2 && dims[1] == 1 && total != 1) return {};  // a placeholder
  std::vector<T> result(static_cast<std::size_t>(B * S * total));
  const bool lengths = dims.size() == 1 && (dims[0] == B || dims[0] == 2 * B);
  if (!lengths && dims != Dims{B, total} && dims != Dims{B, S, total})
    fail(ErrorCode::kUnsupported, node, "a mask of " + to_string(dims) + " does not run");
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t s = 0; s < S; ++s)
      for (std::int64_t t = 0; t < total; ++t) {
        bool seen = false;
        if (lengths)
          seen = t < values[b] && (dims[0] == B || t >= values[B + b]);
        else
          seen = values[dims.size() == 2 ? b * total + t : (b * S + s) * total + t] > 0;
        result[(b * S + s) * total + t] = seen ? T{0} : filter;
      }
  return result;
}

// products [B*S, q + k + v], the bias added.
template <class T>
std::vector<Tensor> attend_products(const ComputeArgs& args, std::vector<T> products) {
  const Node& node = args.node;
  const Places at = places(node);
  const auto& in = args.inputs;
  const std::int64_t B = in[0].dim(0), S = in[0].dim(1), columns = in[1].dim(1);
  const Hidden hidden = hidden_sizes(node, columns);
  if (in[at.bias].defined()) {
    const auto bias = in[at.bias].values<T>();
    for (std::size_t i = 0; i < products.size(); ++i) products[i] += bias[i % bias.size()];
  }
  const Dims present_dims = output_dims(args, 1);
  const AttentionSizes sizes{
      B, hidden.heads, hidden.heads, S, present_dims[3], hidden.k / hidden.heads, hidden.v / hidden.heads};
  const auto part = [&](std::int64_t first, std::int64_t width) {  // [B,heads,S,width / heads]
    std::vector<T> result;
    for (std::int64_t row = 0; row < B * S; ++row)
      result.insert(result.end(), products.begin() + row * columns + first, products.begin() + row * columns + first + width);
    return split_heads<T>(result, B, S, hidden.heads, width / hidden.heads);
  };
  std::vector<T> q = part(0, hidden.q), k = part(hidden.q, hidden.k), v = part(hidden.q + hidden.k, hidden.v);
  if (in[at.past].defined()) {
    const auto past = in[at.past].values<T>();
    const std::int64_t before = in[at.past].dim(3) * sizes.D, now = S * sizes.D;
    k = append_sequence<T>(past.first(past.size() / 2), k, B * hidden.heads, before, now);
    v = append_sequence<T>(past.subspan(past.size() / 2), v, B * hidden.heads, before, now);
  }
  std::vector<T> both = k;
  if (hidden.k == hidden.v)
    both.insert(both.end(), v.begin(), v.end());
  else
    both.resize(2 * k.size());
  Tensor present = Tensor::of<T>(present_dims, both);

  const float given = node.get_float("scale", 0);
  const T scale = given != 0 ? static_cast<T>(given) : static_cast<T>(1 / std::sqrt(static_cast<double>(sizes.D)));
  const std::vector<T> mask =
      read_mask<T>(node, in[at.mask], sizes, static_cast<T>(node.get_float("mask_filter_value", -10000)));
  const bool causal = node.get_int("unidirectional", 0) != 0;
  std::span<const T> summands;
  Dims strides(4, 0);
  if (at.summand < in.size() && in[at.summand].defined()) {
    const Dims full = {B, hidden.heads, S, sizes.T}, own = in[at.summand].dims();
    if (own.size() != 4) fail(ErrorCode::kBadShape, node, "attention_bias must have 4 axes");
    for (std::size_t i = 0; i < 4; ++i)
      if (own[i] != full[i] && own[i] != 1) fail(ErrorCode::kBadShape, node, "attention_bias does not broadcast");
    summands = in[at.summand].values<T>();
    strides = broadcast_strides(own, full);
  }
  std::vector<T> y(static_cast<std::size_t>(B * S * hidden.v));
  attend<T>(
      sizes, q, k, v, y,
      [&](std::int64_t b, std::int64_t h, std::int64_t s, std::span<T> row) {
        for (std::int64_t t = 0; t < sizes.T; ++t) {
          row[t] *= scale;
          if (!summands.empty()) row[t] += summands[b * strides[0] + h * strides[1] + s * strides[2] + t * strides[3]];
          if (causal && t > sizes.T - S + s)
            row[t] = std::numeric_limits<T>::lowest();
          else if (!mask.empty())
            row[t] += mask[(b * S + s) * sizes.T + t];
        }
      },
      [](std::span<T> row) { masked_softmax<T>(row); }, [](std::int64_t, std::int64_t, std::int64_t, std::span<T>) {});
  y = join_heads<T>(y, B, S, hidden.heads, sizes.V);
  return {Tensor::of<T>(output_dims(args, 0), y), std::move(present)};
}

std::vector<Tensor> attention(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &w = args.inputs[1];
  std::vector<Tensor> results;
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    std::vector<T> products(static_cast<std::size_t>(x.dim(0) * x.dim(1) * w.dim(1)));
    multiply<T>(
        {x.dim(0) * x.dim(1), w.dim(1), w.dim(0), {}, {}, {}}, x.values<T>(), w.values<T>(), std::span(products),
        [](T value) { return value; }, [](T value, std::int64_t) { return value; });
    results = attend_products<T>(args, std::move(products));
  });
  return results;
}

std::vector<Tensor> quantized_attention(const ComputeArgs& args) {
  const Node& node = args.node;
  const auto& in = args.inputs;
  const std::vector<std::int32_t> x = read_integers(node, in[0]), w = read_integers(node, in[1]);
  const std::int64_t M = in[0].dim(0) * in[0].dim(1), N = in[1].dim(1), K = in[1].dim(0);
  const float x_scale = scalar_scale(node, in[3]);
  const std::int32_t x_zero = scalar_zero(node, in[6]);
  const auto w_scale = channel_scales(node, in[4], N);
  const auto w_zero = channel_zeros(node, in[7], N);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(M * N));
  multiply<std::int64_t>(
      {M, N, K, {}, {}, {}}, std::span<const std::int32_t>(x), std::span<const std::int32_t>(w), std::span(sums),
      [=](std::int32_t value) { return std::int64_t{value} - x_zero; },
      [&](std::int32_t value, std::int64_t n) { return std::int64_t{value} - w_zero[n]; });
  std::vector<float> products(sums.size());
  for (std::size_t i = 0; i < sums.size(); ++i)
    products[i] =
        static_cast<float>(static_cast<std::int32_t>(sums[i])) * (x_scale * w_scale[static_cast<std::int64_t>(i) % N]);
  return attend_products<float>(args, std::move(products));
}

std::int64_t macs(const Node&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  if (inputs.size() < 2 || !inputs[0].shape || !inputs[1].shape || inputs[0].shape->size() != 3 || outputs.empty()) return 0;
  // Projections; both products of scores at the length of the input.
  const auto rows = known_count(std::span(*inputs[0].shape).first(2)), weights = known_count(*inputs[1].shape);
  const Dim& length = (*inputs[0].shape)[1];
  if (!rows || !weights || !outputs[0].shape) return 0;
  const auto results = known_count(*outputs[0].shape);
  return product(rows, weights) + (length.fixed() && results ? product(2 * *results, length.value) : 0);
}

}  // namespace

std::vector<Operator> attention_microsoft_operators() {
  return {
      {.domain = "com.microsoft",
       .op_type = "Attention",
       .min_inputs = 2,
       .max_inputs = 7,
       .shape = shape,
       .reference = half_in_f32<attention>,
       .macs = macs},
      {.domain = "com.microsoft",
       .op_type = "QAttention",
       .min_inputs = 5,
       .max_inputs = 9,
       .shape = shape,
       .reference = quantized_attention,
       .macs = macs},
  };
}

}  // namespace zeropoint::ops
