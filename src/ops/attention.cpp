// Attention (opsets 23 to 25) and RotaryEmbedding.
//
// Attention: Q and K times sqrt(scale) each, their products, softcap * tanh(x / softcap), plus mask and causal or window bias,
// softmax, times V. A row without any key to look at gives zeros.
#include "ops/attention.h"

#include <fmt/format.h>

#include <cmath>

#include "ops/families.h"

namespace zeropoint::ops {
namespace {

constexpr std::int64_t kMostHeads = 1 << 20;

// Heads, sequence and width of Q, K or V.
struct HeadsShape {
  Dim batch, heads, sequence, width;
};

// A 3-D input holds all heads in its last axis; the attribute says how many.
std::optional<HeadsShape> heads_of(const Node& node, const std::optional<Shape>& shape, const char* attribute,
                                   const char* what) {
  if (!shape) return std::nullopt;
  const std::int64_t heads = node.get_int(attribute, 0);
  if (shape->size() == 4) {
    if (heads != 0 && (*shape)[1].fixed() && (*shape)[1].value != heads)
      fail(ErrorCode::kBadShape, node,
           fmt::format("{} {} does not have {} = {} heads", what, to_string(*shape), attribute, heads));
    return HeadsShape{(*shape)[0], (*shape)[1], (*shape)[2], (*shape)[3]};
  }
  if (shape->size() != 3)
    fail(ErrorCode::kBadShape, node, fmt::format("{} {} has neither 3 nor 4 axes", what, to_string(*shape)));
  if (heads < 1 || heads > kMostHeads)
    fail(ErrorCode::kBadAttribute, node, fmt::format("{} is {}, which 3-D inputs need", attribute, heads));
  const Dim& hidden = (*shape)[2];
  if (hidden.fixed() && hidden.value % heads != 0)
    fail(ErrorCode::kBadShape, node, fmt::format("{} {} does not split into {} heads", what, to_string(*shape), heads));
  return HeadsShape{(*shape)[0], Dim(heads), (*shape)[1], hidden.fixed() ? Dim(hidden.value / heads) : Dim()};
}

Dim sum_of(const Dim& a, const Dim& b) { return a.fixed() && b.fixed() ? Dim(a.value + b.value) : Dim(); }

void check_attributes(const Node& node) {
  const std::int64_t mode = node.get_int("qk_matmul_output_mode", 0);
  if (mode < 0 || mode > 3) fail(ErrorCode::kBadAttribute, node, fmt::format("qk_matmul_output_mode is {}", mode));
  for (const char* side : {"left_window_size", "right_window_size"})
    if (node.get_int(side, -1) < -1)
      fail(ErrorCode::kBadAttribute, node, fmt::format("{} is {}", side, node.get_int(side, -1)));
  const std::int64_t precision = node.get_int("softmax_precision", 1);
  if (precision != 1 && precision != 10 && precision != 11 && precision != 16 && precision != 0)
    fail(ErrorCode::kBadAttribute, node, fmt::format("softmax_precision is {}", precision));
  const float softcap = node.get_float("softcap", 0);
  if (!(softcap >= 0)) fail(ErrorCode::kBadAttribute, node, fmt::format("softcap is {}", softcap));
  if (!(node.get_float("scale", 1) >= 0)) fail(ErrorCode::kBadAttribute, node, "scale is negative");
}

std::vector<TensorType> attention_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  check_attributes(node);
  const auto& in = args.inputs;
  const DType dtype = same_dtype(node, in[0].dtype, in[1].dtype);
  const auto q = heads_of(node, in[0].shape, "q_num_heads", "Q"), k = heads_of(node, in[1].shape, "kv_num_heads", "K"),
             v = heads_of(node, in[2].shape, "kv_num_heads", "V");
  if (in[0].shape && in[1].shape && in[2].shape &&
      (in[0].shape->size() != in[1].shape->size() || in[0].shape->size() != in[2].shape->size()))
    fail(ErrorCode::kBadShape, node,
         fmt::format("Q {}, K {} and V {} differ in rank", to_string(*in[0].shape), to_string(*in[1].shape),
                     to_string(*in[2].shape)));
  if (present(in[4]) != present(in[5])) fail(ErrorCode::kBadModel, node, "past_key and past_value go together");
  if (present(in[4]) && present(in[6])) fail(ErrorCode::kBadModel, node, "nonpad_kv_seqlen does not go with past_key");
  std::vector<TensorType> out = {
      {dtype, std::nullopt}, {dtype, std::nullopt}, {in[2].dtype, std::nullopt}, {dtype, std::nullopt}};
  if (in[0].shape) out[0].shape = unknown_shape(in[0].shape->size());
  if (!q || !k || !v) return out;
  const Dim batch = merge(node, merge(node, q->batch, k->batch), v->batch), kv_heads = merge(node, k->heads, v->heads),
            width = merge(node, q->width, k->width), added = merge(node, k->sequence, v->sequence);
  if (q->heads.fixed() && kv_heads.fixed() && (kv_heads.value < 1 || q->heads.value % kv_heads.value != 0))
    fail(ErrorCode::kBadShape, node, fmt::format("{} query heads do not share {} key heads", q->heads.value, kv_heads.value));
  Dim total = added;
  if (present(in[4])) {
    total = Dim();
    if (in[4].shape && in[5].shape) {
      const Shape &past_k = *in[4].shape, &past_v = *in[5].shape;
      if (past_k.size() != 4 || past_v.size() != 4)
        fail(ErrorCode::kBadShape, node, "past_key and past_value must have 4 axes");
      const Dim past = merge(node, past_k[2], past_v[2]);
      for (const Shape* shape : {&past_k, &past_v}) {
        merge(node, (*shape)[0], batch);
        merge(node, (*shape)[1], kv_heads);
      }
      merge(node, past_k[3], width);
      merge(node, past_v[3], v->width);
      total = sum_of(past, added);
    }
  }
  if (in[0].shape->size() == 4)
    out[0].shape = Shape{batch, q->heads, q->sequence, v->width};
  else
    out[0].shape =
        Shape{batch, q->sequence, v->width.fixed() && q->heads.fixed() ? Dim(v->width.value * q->heads.value) : Dim()};
  out[1].shape = Shape{batch, kv_heads, total, width};
  out[2].shape = Shape{batch, kv_heads, total, v->width};
  out[3].shape = Shape{batch, q->heads, q->sequence, total};
  if (in[6].shape && (in[6].shape->size() != 1 || ((*in[6].shape)[0].fixed() && batch.fixed() && (*in[6].shape)[0] != batch)))
    fail(ErrorCode::kBadShape, node, "nonpad_kv_seqlen must have one entry for each of the batch");
  if (in[3].shape && (in[3].shape->empty() || in[3].shape->size() > 4))
    fail(ErrorCode::kBadShape, node, "attn_mask " + to_string(*in[3].shape) + " has no or more than 4 axes");
  return out;
}

// Numbers of a float tensor of either width.
template <class T>
std::vector<T> floats_as(const Node& node, const Tensor& tensor, std::size_t input) {
  std::vector<T> result;
  if (tensor.dtype() == DType::f32)
    for (const float value : tensor.values<float>()) result.push_back(static_cast<T>(value));
  else if (tensor.dtype() == DType::f64)
    for (const double value : tensor.values<double>()) result.push_back(static_cast<T>(value));
  else
    fail_type(node, input, tensor.dtype());
  return result;
}

template <class T>
T rounded(T value, std::int64_t precision) {
  if (precision == 10) return static_cast<T>(numerics::from_f16(numerics::to_f16(static_cast<float>(value))));
  if (precision == 16) return static_cast<T>(numerics::from_bf16(numerics::to_bf16(static_cast<float>(value))));
  return value;
}

// The softmax of the attribute softmax_precision.
template <class T>
void softmax_in(std::int64_t precision, std::span<T> row) {
  if ((precision == 11 && std::is_same_v<T, float>) || (precision == 1 && std::is_same_v<T, double>)) {
    using Other = std::conditional_t<std::is_same_v<T, float>, double, float>;
    std::vector<Other> wide(row.size());
    for (std::size_t i = 0; i < row.size(); ++i) wide[i] = static_cast<Other>(row[i]);
    masked_softmax<Other>(wide);
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<T>(wide[i]);
    return;
  }
  for (T& value : row) value = rounded(value, precision);
  masked_softmax<T>(row);
  for (T& value : row) value = rounded(value, precision);
}

template <class T>
std::vector<Tensor> attention_of(const ComputeArgs& args) {
  const Node& node = args.node;
  const auto& in = args.inputs;
  const bool flat = in[0].rank() == 3;
  const Dims y_dims = output_dims(args, 0), k_dims = output_dims(args, 1), v_dims = output_dims(args, 2),
             score_dims = output_dims(args, 3);
  const AttentionSizes sizes{score_dims[0], score_dims[1], k_dims[1], score_dims[2], score_dims[3], k_dims[3], v_dims[3]};
  const std::int64_t added = flat ? in[1].dim(1) : in[1].dim(2), past = sizes.T - added;
  std::vector<T> q = floats_as<T>(node, in[0], 0), k = floats_as<T>(node, in[1], 1), v = floats_as<T>(node, in[2], 2);
  if (flat) {
    q = split_heads<T>(q, sizes.B, sizes.S, sizes.heads, sizes.D);
    k = split_heads<T>(k, sizes.B, added, sizes.kv_heads, sizes.D);
    v = split_heads<T>(v, sizes.B, added, sizes.kv_heads, sizes.V);
  }
  if (in[4].defined()) {
    const std::int64_t outer = sizes.B * sizes.kv_heads;
    k = append_sequence<T>(floats_as<T>(node, in[4], 4), k, outer, past * sizes.D, added * sizes.D);
    v = append_sequence<T>(floats_as<T>(node, in[5], 5), v, outer, past * sizes.V, added * sizes.V);
  }
  Tensor present_k = Tensor::of<T>(k_dims, k), present_v(args.outputs[2].dtype, v_dims);
  if (in[2].dtype() == DType::f64)
    for (std::size_t i = 0; i < v.size(); ++i) present_v.mutable_values<double>()[i] = static_cast<double>(v[i]);
  else
    for (std::size_t i = 0; i < v.size(); ++i) present_v.mutable_values<float>()[i] = static_cast<float>(v[i]);

  const T scale = node.find("scale") != nullptr ? static_cast<T>(std::sqrt(static_cast<double>(node.get_float("scale", 1))))
                                                : static_cast<T>(std::sqrt(1 / std::sqrt(static_cast<double>(sizes.D))));
  for (T& value : q) value *= scale;
  for (T& value : k) value *= scale;

  // The mask as numbers, at [b,h,s,t] with t below its length; more keys than the mask has are left out.
  constexpr T kOut = -std::numeric_limits<T>::infinity();
  std::vector<T> mask;
  Dims mask_strides(4, 0);
  std::int64_t mask_length = sizes.T;
  if (in[3].defined()) {
    if (in[3].dtype() == DType::b8)
      for (const bool value : in[3].values<bool>()) mask.push_back(value ? T{0} : kOut);
    else
      mask = floats_as<T>(node, in[3], 3);
    const Dims full = {sizes.B, sizes.heads, sizes.S, sizes.T};
    mask_length = in[3].dims().back();
    const Dims own = strides_of(in[3].dims());
    for (std::size_t i = 0; i < in[3].rank(); ++i) {
      const std::size_t axis = 4 - in[3].rank() + i;
      const std::int64_t dim = in[3].dim(i);
      if (axis == 3 ? dim > full[axis] : dim != 1 && dim != full[axis])
        fail(ErrorCode::kBadShape, node,
             fmt::format("attn_mask {} does not broadcast to {}", to_string(in[3].dims()), to_string(full)));
      mask_strides[axis] = axis == 3 || dim != 1 ? own[i] : 0;
    }
  }
  std::vector<std::int64_t> valid(static_cast<std::size_t>(sizes.B), sizes.T), offset(static_cast<std::size_t>(sizes.B), past);
  if (in[6].defined()) {
    valid = ints(in[6]);
    if (static_cast<std::int64_t>(valid.size()) != sizes.B)
      fail(ErrorCode::kBadShape, node, "nonpad_kv_seqlen must have one entry for each of the batch");
    for (std::size_t b = 0; b < valid.size(); ++b) {
      if (valid[b] < 0 || valid[b] > sizes.T)
        fail(ErrorCode::kBadShape, node, fmt::format("nonpad_kv_seqlen has the entry {}, of {} keys", valid[b], sizes.T));
      offset[b] = valid[b] - sizes.S;
    }
  }
  const bool causal = node.get_int("is_causal", 0) != 0;
  const std::int64_t left = node.get_int("left_window_size", -1), right = node.get_int("right_window_size", -1);
  const std::int64_t mode = node.get_int("qk_matmul_output_mode", 0), precision = node.get_int("softmax_precision", 0);
  const auto softcap = static_cast<T>(node.get_float("softcap", 0));

  Tensor scores(args.outputs[3].dtype, score_dims);
  const auto score_out = scores.mutable_values<T>();
  const auto store = [&](std::int64_t b, std::int64_t h, std::int64_t s, std::span<const T> row) {
    std::copy(row.begin(), row.end(), score_out.begin() + ((b * sizes.heads + h) * sizes.S + s) * sizes.T);
  };
  std::vector<T> y(static_cast<std::size_t>(sizes.B * sizes.heads * sizes.S * sizes.V));
  bool nothing = false;  // the row may look at no key
  attend<T>(
      sizes, q, k, v, y,
      [&](std::int64_t b, std::int64_t h, std::int64_t s, std::span<T> row) {
        if (mode == 0) store(b, h, s, row);
        if (softcap != 0)
          for (T& value : row) value = softcap * numerics::tanh(value / softcap);
        if (mode == 1) store(b, h, s, row);
        nothing = true;
        const std::int64_t at = s + offset[static_cast<std::size_t>(b)];  // position of the query among the keys
        for (std::int64_t t = 0; t < sizes.T; ++t) {
          T bias = 0;
          if (!mask.empty() || mask_length != sizes.T)
            bias = t < mask_length ? mask[b * mask_strides[0] + h * mask_strides[1] + s * mask_strides[2] + t * mask_strides[3]]
                                   : kOut;
          if ((causal && t > at) || (left >= 0 && at - t > left) || (right >= 0 && t - at > right) ||
              t >= valid[static_cast<std::size_t>(b)])
            bias = kOut;
          nothing = nothing && bias == kOut;
          row[t] += bias;
        }
        if (mode == 2) store(b, h, s, row);
      },
      [&](std::span<T> row) {
        if (nothing)
          std::fill(row.begin(), row.end(), T{});
        else
          softmax_in<T>(precision, row);
      },
      [&](std::int64_t b, std::int64_t h, std::int64_t s, std::span<T> row) {
        if (mode == 3) store(b, h, s, row);
      });
  if (flat) y = join_heads<T>(y, sizes.B, sizes.S, sizes.heads, sizes.V);
  return {Tensor::of<T>(y_dims, y), std::move(present_k), std::move(present_v), std::move(scores)};
}

std::vector<Tensor> attention(const ComputeArgs& args) {
  std::vector<Tensor> result;
  with_floats(args.node, args.inputs[0].dtype(), [&]<class T>(T) { result = attention_of<T>(args); });
  return result;
}

std::int64_t attention_macs(const Node&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  // Both products: B * S * T * (all heads of Q + all heads of Y).
  if (inputs.size() < 2 || outputs.empty() || !inputs[0].shape || !inputs[1].shape || !outputs[0].shape) return 0;
  const auto queries = known_count(*inputs[0].shape), results = known_count(*outputs[0].shape);
  if (!queries || !results || inputs[1].shape->size() < 3) return 0;
  std::size_t axis = inputs[1].shape->size() - 2;
  if (inputs.size() > 4 && inputs[4].shape && inputs[4].shape->size() == 4 && (*inputs[4].shape)[2].fixed() &&
      (*inputs[1].shape)[axis].fixed())
    return product(*queries + *results, (*inputs[1].shape)[axis].value + (*inputs[4].shape)[2].value);
  return (*inputs[1].shape)[axis].fixed() ? product(*queries + *results, (*inputs[1].shape)[axis].value) : 0;
}

// ---- RotaryEmbedding: pairs (x1, x2) of each head become (cos x1 - sin x2, sin x1 + cos x2). Pairs are the halves of the
// first rotary_embedding_dim elements, or neighbours where `interleaved`.

std::vector<TensorType> rotary_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType& x = args.inputs[0];
  const DType dtype = same_dtype(node, same_dtype(node, x.dtype, args.inputs[1].dtype), args.inputs[2].dtype);
  if (x.shape) {
    const auto heads = heads_of(node, x.shape, "num_heads", "X");
    const std::int64_t part = node.get_int("rotary_embedding_dim", 0);
    if (part < 0 || part % 2 != 0 || (heads->width.fixed() && part > heads->width.value))
      fail(ErrorCode::kBadAttribute, node, fmt::format("rotary_embedding_dim is {}", part));
    if (part == 0 && heads->width.fixed() && heads->width.value % 2 != 0)
      fail(ErrorCode::kBadShape, node, fmt::format("heads of {} elements have no pairs", heads->width.value));
  }
  return {{dtype, x.shape}};
}

std::vector<Tensor> rotary(const ComputeArgs& args) {
  const Node& node = args.node;
  const Tensor &x = args.inputs[0], &cosines = args.inputs[1], &sines = args.inputs[2], &positions = args.inputs[3];
  Tensor y = x;
  const bool flat = x.rank() == 3;
  const std::int64_t B = x.dim(0), heads = flat ? node.get_int("num_heads", 0) : x.dim(1), S = flat ? x.dim(1) : x.dim(2),
                     D = flat ? x.dim(2) / heads : x.dim(3);
  std::int64_t part = node.get_int("rotary_embedding_dim", 0);
  if (part == 0) part = D;
  const std::int64_t half = part / 2;
  const Dims wanted = positions.defined() ? Dims{cosines.rank() == 2 ? cosines.dim(0) : -1, half} : Dims{B, S, half};
  if (cosines.dims() != wanted || sines.dims() != wanted)
    fail(ErrorCode::kBadShape, node,
         fmt::format("caches {} and {} do not fit, must be {}", to_string(cosines.dims()), to_string(sines.dims()),
                     positions.defined() ? fmt::format("[positions,{}]", half) : to_string(wanted)));
  std::vector<std::int64_t> rows(static_cast<std::size_t>(B * S));
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
  if (positions.defined()) {
    if (positions.dims() != Dims{B, S})
      fail(ErrorCode::kBadShape, node,
           fmt::format("position_ids {} must be {}", to_string(positions.dims()), to_string(Dims{B, S})));
    rows = ints(positions);
    for (const std::int64_t row : rows)
      if (row < 0 || row >= cosines.dim(0))
        fail(ErrorCode::kBadShape, node, fmt::format("position {} is outside caches of {}", row, cosines.dim(0)));
  }
  const bool interleaved = node.get_int("interleaved", 0) != 0;
  with_floats(node, x.dtype(), [&]<class T>(T) {
    const auto values = y.mutable_values<T>();
    const auto c = cosines.values<T>(), s = sines.values<T>();
    for (std::int64_t i = 0; i < B * heads * S; ++i) {
      const std::int64_t b = i / (heads * S), at = flat ? i / heads % S : i % S;
      const std::int64_t row = rows[b * S + at] * half;
      T* const head = values.data() + i * D;
      for (std::int64_t k = 0; k < half; ++k) {
        T &first = head[interleaved ? 2 * k : k], &second = head[interleaved ? 2 * k + 1 : half + k];
        const T real = c[row + k] * first - s[row + k] * second, imaginary = s[row + k] * first + c[row + k] * second;
        first = real;
        second = imaginary;
      }
    }
  });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> attention_operators() {
  return {
      {.op_type = "Attention",
       .since = 23,
       .min_inputs = 3,
       .max_inputs = 7,
       .shape = attention_shape,
       .reference = half_in_f32<attention>,
       .macs = attention_macs},
      {.op_type = "RotaryEmbedding",
       .since = 23,
       .min_inputs = 3,
       .max_inputs = 4,
       .shape = rotary_shape,
       .reference = half_in_f32<rotary>},
  };
}

}  // namespace zeropoint::ops
