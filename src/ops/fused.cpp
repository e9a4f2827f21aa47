// Operators of com.microsoft that ONNX Runtime's optimizer writes: normalizations with a sum before them, GELUs, products and
// convolutions with something behind them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "numerics/elementary.h"
#include "numerics/lane_sum.h"
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

// What another operator's rule or reference makes of the node's first inputs.
std::vector<TensorType> shape_of(const char* type, const ShapeArgs& args, std::int64_t opset, std::size_t most) {
  const auto cut = [&](auto span) { return span.first(std::min(span.size(), most)); };
  return find("", type)->shape({args.node, opset, cut(args.inputs), cut(args.constants), cut(args.integers)});
}
std::vector<Tensor> run(const char* type, const ComputeArgs& args, std::int64_t opset, std::size_t most) {
  return find("", type)->reference({args.node, opset, args.inputs.first(std::min(args.inputs.size(), most)), args.outputs});
}

// ---- SkipLayerNormalization(x, skip, gamma, beta, bias) and its simplified form (x, skip, gamma, bias): normalizes
// x + skip + bias over the last axis. Outputs: result, mean, 1 / deviation, the sum.

void check_row(const Node& node, const TensorType& type, const Dim& width, const char* what) {
  if (!type.shape) return;
  if (type.shape->size() != 1 || ((*type.shape)[0].fixed() && width.fixed() && (*type.shape)[0] != width))
    fail(ErrorCode::kBadShape, node, fmt::format("{} {} must have {} entries", what, to_string(*type.shape), width.value));
}

std::vector<TensorType> skip_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType &x = args.inputs[0], &skip = args.inputs[1];
  const DType dtype = same_dtype(node, same_dtype(node, x.dtype, skip.dtype), args.inputs[2].dtype);
  if (!x.shape) return {{dtype, std::nullopt}, {DType::f32, std::nullopt}, {DType::f32, std::nullopt}, {dtype, std::nullopt}};
  if (x.shape->size() != 2 && x.shape->size() != 3)
    fail(ErrorCode::kBadShape, node, "input " + to_string(*x.shape) + " must have 2 or 3 axes");
  if (skip.shape && broadcast(node, *x.shape, *skip.shape).size() != x.shape->size())
    fail(ErrorCode::kBadShape, node, "skip " + to_string(*skip.shape) + " does not broadcast to the input");
  for (std::size_t i = 2; i < args.inputs.size(); ++i) check_row(node, args.inputs[i], x.shape->back(), "a parameter");
  Shape statistic = *x.shape;
  statistic.back() = Dim(1);
  return {{dtype, x.shape}, {DType::f32, statistic}, {DType::f32, statistic}, {dtype, x.shape}};
}

template <bool simplified>
std::vector<Tensor> skip_normalization(const ComputeArgs& args) {
  const auto& in = args.inputs;
  const Tensor &x = in[0], &gamma = in[2], &beta = simplified ? Tensor() : in[3], &bias = in[simplified ? 3 : 4];
  if (output_dims(args) != x.dims()) fail(ErrorCode::kBadShape, args.node, "skip does not broadcast to the input");
  Tensor y(x.dtype(), x.dims()), sum = x, means(DType::f32, output_dims(args, 1)), inverses(DType::f32, output_dims(args, 2));
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto values = sum.mutable_values<T>(), out = y.mutable_values<T>();
    const auto add = [&](const Tensor& tensor) {
      if (!tensor.defined()) return;
      const auto summands = tensor.values<T>();
      walk<1>(x.dims(), {broadcast_strides(tensor.dims(), x.dims())},
              [&](std::int64_t i, const auto& at) { values[i] += summands[at[0]]; });
    };
    add(in[1]);
    add(bias);
    const auto width = static_cast<std::size_t>(x.dims().back());
    const auto epsilon = static_cast<T>(args.node.get_float("epsilon", 1e-12F));
    const auto scale = gamma.values<T>();
    std::vector<T> squares(width);
    for (std::size_t row = 0; width > 0 && row < values.size() / width; ++row) {
      const auto from = values.subspan(row * width, width);
      const auto to = out.subspan(row * width, width);
      const T mean = simplified ? T{0} : numerics::lane_sum<T>(from) / static_cast<T>(width);
      for (std::size_t i = 0; i < width; ++i) {
        to[i] = from[i] - mean;
        squares[i] = to[i] * to[i];
      }
      const T deviation = std::sqrt(numerics::lane_sum<T>(squares) / static_cast<T>(width) + epsilon);
      for (std::size_t i = 0; i < width; ++i) {
        to[i] = to[i] / deviation * scale[i];
        if (beta.defined()) to[i] += beta.values<T>()[i];
      }
      means.mutable_values<float>()[row] = static_cast<float>(mean);
      inverses.mutable_values<float>()[row] = static_cast<float>(T{1} / deviation);
    }
  });
  return {std::move(y), std::move(means), std::move(inverses), std::move(sum)};
}

// ---- SimplifiedLayerNormalization(x, scale): RMSNormalization with 1 / deviation as a second output

std::vector<TensorType> simplified_shape(const ShapeArgs& args) {
  TensorType y = find("", "RMSNormalization")->shape(args)[0], statistic{DType::f32, y.shape};
  if (y.shape)
    for (std::size_t i = normalize_axis(args.node, args.node.get_int("axis", -1), y.shape->size()); i < y.shape->size(); ++i)
      (*statistic.shape)[i] = Dim(1);
  return {y, statistic};
}

std::vector<Tensor> simplified_normalization(const ComputeArgs& args) {
  std::vector<Tensor> results = find("", "RMSNormalization")->reference(args);
  const Tensor x = widened(args.inputs[0]);
  Tensor inverses(DType::f32, output_dims(args, 1));
  const auto out = inverses.mutable_values<float>();
  const std::size_t width = out.empty() ? 0 : static_cast<std::size_t>(x.size()) / out.size();
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto epsilon = static_cast<T>(args.node.get_float("epsilon", 1e-5F));
    for (std::size_t row = 0; row < out.size(); ++row) {
      std::vector<T> squares;
      for (const T value : x.values<T>().subspan(row * width, width)) squares.push_back(value * value);
      out[row] = static_cast<float>(T{1} / std::sqrt(numerics::lane_sum<T>(squares) / static_cast<T>(width) + epsilon));
    }
  });
  results.push_back(std::move(inverses));
  return results;
}

// ---- EmbedLayerNormalization(ids, segments, words, positions, segment table, gamma, beta, mask, position ids): the sum of the
// tables' rows, normalized. Further outputs: how many entries of each mask are 1, and the sum.

std::vector<TensorType> embed_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const auto &ids = args.inputs[0].shape, &words = args.inputs[2].shape;
  const DType dtype = args.inputs[2].dtype;
  std::vector<TensorType> types = {{dtype, std::nullopt}, {DType::s32, std::nullopt}, {dtype, std::nullopt}};
  if (!ids) return types;
  if (ids->size() != 2) fail(ErrorCode::kBadShape, node, "input_ids " + to_string(*ids) + " must have 2 axes");
  Dim width;
  for (const std::size_t table : {2, 3, 4}) {
    const auto& shape = args.inputs[table].shape;
    if (!shape) continue;
    if (shape->size() != 2) fail(ErrorCode::kBadShape, node, "a table " + to_string(*shape) + " must have 2 axes");
    width = merge(node, width, (*shape)[1]);
  }
  for (const std::size_t i : {5, 6}) check_row(node, args.inputs[i], width, "a parameter");
  if (words) types[0].shape = types[2].shape = Shape{(*ids)[0], (*ids)[1], width};
  types[1].shape = Shape{(*ids)[0]};
  return types;
}

std::vector<Tensor> embed_normalization(const ComputeArgs& args) {
  const Node& node = args.node;
  const auto& in = args.inputs;
  const std::int64_t B = in[0].dim(0), S = in[0].dim(1), width = in[2].dim(1);
  if (in[1].defined() != in[4].defined()) fail(ErrorCode::kBadModel, node, "segment ids and their table go together");
  const auto list = [&](std::size_t input) {
    std::vector<std::int64_t> values = ints(in[input]);
    if (input == 8 && static_cast<std::int64_t>(values.size()) == S && B > 1) {  // one row for the whole batch
      const std::vector<std::int64_t> row = values;
      for (std::int64_t b = 1; b < B; ++b) values.insert(values.end(), row.begin(), row.end());
    }
    if (static_cast<std::int64_t>(values.size()) != B * S)
      fail(ErrorCode::kBadShape, node, fmt::format("input {} must be {}", input, to_string(in[0].dims())));
    return values;
  };
  std::vector<std::int64_t> positions(static_cast<std::size_t>(B * S));
  for (std::size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<std::int64_t>(i) % S;
  if (in[8].defined()) positions = list(8);
  Tensor y(in[2].dtype(), {B, S, width}), sum(in[2].dtype(), {B, S, width}), counts(DType::s32, {B});
  with_floats(node, in[2].dtype(), [&]<class T>(T) {
    const auto total = sum.mutable_values<T>();
    const auto add = [&](const std::vector<std::int64_t>& rows, const Tensor& table) {
      const auto values = table.values<T>();
      for (std::size_t i = 0; i < rows.size(); ++i) {
        if (rows[i] < 0 || rows[i] >= table.dim(0))
          fail(ErrorCode::kBadShape, node, fmt::format("row {} is outside a table of {}", rows[i], table.dim(0)));
        for (std::int64_t k = 0; k < width; ++k) total[static_cast<std::int64_t>(i) * width + k] += values[rows[i] * width + k];
      }
    };
    add(list(0), in[2]);
    add(positions, in[3]);
    if (in[1].defined()) add(list(1), in[4]);
  });
  Node norm;
  norm.name = node.name;
  norm.op_type = "LayerNormalization";
  norm.attributes["epsilon"] = node.get_float("epsilon", 1e-12F);
  const std::vector<Tensor> inputs = {sum, in[5], in[6]};
  const Shape statistic = {Dim(B), Dim(S), Dim(1)};
  const std::vector<TensorType> outputs = {args.outputs[0], {sum.dtype(), statistic}, {sum.dtype(), statistic}};
  y = find("", "LayerNormalization")->reference({norm, 17, inputs, outputs})[0];
  if (in[7].defined()) {
    const auto mask = list(7);
    for (std::size_t i = 0; i < mask.size(); ++i)
      counts.mutable_values<std::int32_t>()[static_cast<std::int64_t>(i) / S] += mask[i] == 1 ? 1 : 0;
  }
  return {std::move(y), std::move(counts), std::move(sum)};
}

// ---- BiasGelu, Gelu: x / 2 (1 + erf(x / sqrt(2))); FastGelu: its tanh form; QuickGelu: x sigmoid(alpha x)

template <class T, class Function>
Tensor map(const Tensor& src, Function function) {
  Tensor result(src.dtype(), src.dims());
  const auto x = src.values<T>();
  const auto y = result.mutable_values<T>();
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = function(x[i]);
  return result;
}

std::vector<TensorType> biased_shape(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &bias = args.inputs[1];
  same_dtype(args.node, x.dtype, bias.dtype);
  if (x.shape && x.shape->empty()) fail(ErrorCode::kBadShape, args.node, "the input is a scalar");
  if (x.shape) check_row(args.node, bias, x.shape->back(), "bias");
  return {x};
}

Tensor biased(const ComputeArgs& args) {
  if (!args.inputs[1].defined()) return args.inputs[0];
  Tensor sum = args.inputs[0];
  with_floats(args.node, sum.dtype(), [&]<class T>(T) {
    const auto values = sum.mutable_values<T>();
    const auto bias = args.inputs[1].values<T>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += bias[i % bias.size()];
  });
  return sum;
}

std::vector<Tensor> gelu(const ComputeArgs& args) {
  Tensor y;
  with_floats(args.node, args.inputs[0].dtype(), [&]<class T>(T) {
    const T root = static_cast<T>(0.70710678118654752440);
    y = map<T>(args.inputs.size() > 1 ? biased(args) : args.inputs[0],
               [=](T x) { return static_cast<T>(0.5) * x * (1 + numerics::erf(x * root)); });
  });
  return one(std::move(y));
}

std::vector<Tensor> fast_gelu(const ComputeArgs& args) {
  Tensor y;
  with_floats(args.node, args.inputs[0].dtype(), [&]<class T>(T) {
    y = map<T>(biased(args), [](T x) {
      const T inner = x * (static_cast<T>(0.035677408136300125) * x * x + static_cast<T>(0.7978845608028654));
      return static_cast<T>(0.5) * x * (1 + numerics::tanh(inner));
    });
  });
  return one(std::move(y));
}

std::vector<Tensor> quick_gelu(const ComputeArgs& args) {
  Tensor y;
  with_floats(args.node, args.inputs[0].dtype(), [&]<class T>(T) {
    const auto alpha = static_cast<T>(args.node.get_float("alpha", 1.702F));
    y = map<T>(args.inputs[0], [=](T x) { return x * numerics::sigmoid(alpha * x); });
  });
  return one(std::move(y));
}

// ---- FusedMatMul: alpha a' b', where transA and transB exchange the last two axes and transBatchA and transBatchB move the
// first axis behind the batch before that

std::vector<std::size_t> operand_order(const Node& node, std::size_t rank, char which) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < rank; ++i) order.push_back(i);
  if (rank < 2) return order;
  if (node.get_int(std::string("transBatch") + which, 0) != 0) std::rotate(order.begin(), order.begin() + 1, order.end() - 1);
  if (node.get_int(std::string("trans") + which, 0) != 0) std::swap(order[rank - 1], order[rank - 2]);
  return order;
}

std::vector<TensorType> fused_matmul_shape(const ShapeArgs& args) {
  std::vector<TensorType> inputs(args.inputs.begin(), args.inputs.end());
  for (std::size_t i = 0; i < 2; ++i) {
    if (!inputs[i].shape) continue;
    const Shape own = *inputs[i].shape;
    const auto order = operand_order(args.node, own.size(), i == 0 ? 'A' : 'B');
    for (std::size_t k = 0; k < order.size(); ++k) (*inputs[i].shape)[k] = own[order[k]];
  }
  return find("", "MatMul")->shape({args.node, 13, inputs, args.constants});
}

std::vector<Tensor> fused_matmul(const ComputeArgs& args) {
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < 2; ++i) {
    const Tensor& own = args.inputs[i];
    const auto order = operand_order(args.node, own.rank(), i == 0 ? 'A' : 'B');
    const Dims strides = strides_of(own.dims());
    Dims dims, along;
    for (const std::size_t axis : order) {
      dims.push_back(own.dim(axis));
      along.push_back(strides[axis]);
    }
    Tensor moved(own.dtype(), dims);
    with_words(args.node, own.dtype(), [&]<class W>(W) {
      const auto src = words<W>(own);
      const auto dst = mutable_words<W>(moved);
      walk<1>(dims, {along}, [&](std::int64_t k, const auto& at) { dst[k] = src[at[0]]; });
    });
    inputs.push_back(std::move(moved));
  }
  Tensor y = find("", "MatMul")->reference({args.node, 13, inputs, args.outputs})[0];
  const float alpha = args.node.get_float("alpha", 1);
  if (alpha != 1)
    with_floats(args.node, y.dtype(), [&]<class T>(T) {
      for (T& value : y.mutable_values<T>()) value *= static_cast<T>(alpha);
    });
  return one(std::move(y));
}

std::int64_t fused_matmul_macs(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  if (inputs.empty() || !inputs[0].shape || inputs[0].shape->empty() || outputs.empty() || !outputs[0].shape) return 0;
  const Dim& K = (*inputs[0].shape)[operand_order(node, inputs[0].shape->size(), 'A').back()];
  return K.fixed() ? product(known_count(*outputs[0].shape), K.value) : 0;
}

// ---- FusedConv(x, w, bias, summand) and FusedGemm(a, b, c): an activation behind

struct FusedActivation {
  std::string name;
  float alpha, beta;
};

FusedActivation fused_activation(const Node& node) {
  const std::string name = node.get_string("activation", "");
  float first = 0, second = 0;
  if (node.op_type == "FusedConv") {
    const std::vector<float> parameters = node.get_floats("activation_params");
    const std::size_t needed = name == "LeakyRelu" ? 1 : name == "Clip" || name == "HardSigmoid" ? 2 : 0;
    if (parameters.size() < needed)
      fail(ErrorCode::kBadAttribute, node,
           fmt::format("activation_params has {} entries, {} needs {}", parameters.size(), name, needed));
    if (needed > 0) first = parameters[0];
    if (needed > 1) second = parameters[1];
  } else {
    first = node.get_float("activation_alpha", name == "HardSigmoid" ? 0.2F : name == "Elu" ? 1.0F : 0.01F);
    second = node.get_float("activation_beta", 0.5F);
  }
  for (const char* known : {"", "Relu", "Tanh", "Sigmoid", "LeakyRelu", "Clip", "HardSigmoid", "Elu"})
    if (name == known) return {name, first, second};
  fail(ErrorCode::kUnsupported, node, "the activation '" + name + "' does not run");
}

template <class T>
T activate(const FusedActivation& activation, T x) {
  const auto a = static_cast<T>(activation.alpha), b = static_cast<T>(activation.beta);
  if (activation.name == "Relu") return x < 0 ? T{0} : x;
  if (activation.name == "Tanh") return numerics::tanh(x);
  if (activation.name == "Sigmoid") return numerics::sigmoid(x);
  if (activation.name == "LeakyRelu") return x < 0 ? a * x : x;
  if (activation.name == "Clip") return x < a ? a : x > b ? b : x;
  if (activation.name == "HardSigmoid") return std::min(T{1}, std::max(T{0}, a * x + b));
  if (activation.name == "Elu") return x < 0 ? a * (numerics::exp(x) - 1) : x;
  return x;
}

std::vector<TensorType> fused_conv_shape(const ShapeArgs& args) {
  fused_activation(args.node);
  std::vector<TensorType> types = shape_of("Conv", args, 11, 3);
  const auto& summand = args.inputs[3].shape;
  if (summand && types[0].shape && broadcast(args.node, *types[0].shape, *summand).size() != types[0].shape->size())
    fail(ErrorCode::kBadShape, args.node, "Z " + to_string(*summand) + " does not fit " + to_string(*types[0].shape));
  return types;
}

std::vector<Tensor> fused_conv(const ComputeArgs& args) {
  Tensor y = run("Conv", args, 11, 3)[0];
  const FusedActivation activation = fused_activation(args.node);
  with_floats(args.node, y.dtype(), [&]<class T>(T) {
    const auto values = y.mutable_values<T>();
    if (args.inputs[3].defined()) {
      if (args.inputs[3].dims() != y.dims()) fail(ErrorCode::kBadShape, args.node, "Z must have the shape of the output");
      const auto summands = args.inputs[3].values<T>();
      for (std::size_t i = 0; i < values.size(); ++i) values[i] += summands[i];
    }
    for (T& value : values) value = activate(activation, value);
  });
  return one(std::move(y));
}

std::vector<TensorType> fused_gemm_shape(const ShapeArgs& args) {
  fused_activation(args.node);
  return shape_of("Gemm", args, 13, 3);
}

std::vector<Tensor> fused_gemm(const ComputeArgs& args) {
  Tensor y = run("Gemm", args, 13, 3)[0];
  const FusedActivation activation = fused_activation(args.node);
  with_floats(args.node, y.dtype(), [&]<class T>(T) {
    for (T& value : y.mutable_values<T>()) value = activate(activation, value);
  });
  return one(std::move(y));
}

std::int64_t fused_conv_macs(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return find("", "Conv")->macs(node, inputs, outputs);
}
std::int64_t fused_gemm_macs(const Node& node, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return find("", "Gemm")->macs(node, inputs, outputs);
}

}  // namespace

std::vector<Operator> fused_operators() {
  return {
      microsoft("SkipLayerNormalization", 3, 5, skip_shape, half_in_f32<skip_normalization<false>>),
      microsoft("SkipSimplifiedLayerNormalization", 3, 4, skip_shape, half_in_f32<skip_normalization<true>>),
      microsoft("SimplifiedLayerNormalization", 2, 2, simplified_shape, simplified_normalization),
      // ONNX Runtime writes it into ONNX's own domain.
      {.op_type = "SimplifiedLayerNormalization",
       .min_inputs = 2,
       .max_inputs = 2,
       .shape = simplified_shape,
       .reference = simplified_normalization},
      microsoft("EmbedLayerNormalization", 7, 9, embed_shape, half_in_f32<embed_normalization>),
      microsoft("Gelu", 1, 1, same_as_input, half_in_f32<gelu>),
      microsoft("BiasGelu", 2, 2, biased_shape, half_in_f32<gelu>),
      microsoft("FastGelu", 1, 2, biased_shape, half_in_f32<fast_gelu>),
      microsoft("QuickGelu", 1, 1, same_as_input, half_in_f32<quick_gelu>),
      microsoft("FusedMatMul", 2, 2, fused_matmul_shape, half_in_f32<fused_matmul>, fused_matmul_macs),
      microsoft("FusedConv", 2, 4, fused_conv_shape, half_in_f32<fused_conv>, fused_conv_macs),
      microsoft("FusedGemm", 2, 3, fused_gemm_shape, half_in_f32<fused_gemm>, fused_gemm_macs),
  };
}

}  // namespace zeropoint::ops
