// com.microsoft's products with quantized weights and float results: MatMulNBits, DynamicQuantizeMatMul, MatMulIntegerToFloat;
// and quantized operators without products: NhwcMaxPool, QLinearReduceMean, QLinearWhere.
#include <fmt/format.h>

#include <algorithm>

#include "ops/families.h"
#include "ops/matmul.h"
#include "ops/pool.h"
#include "ops/quantized.h"

namespace zeropoint::ops {
namespace {

// ---- MatMulNBits(a, b, scales, zero_points, g_idx, bias): a [...,K] times the transpose of w [N,K], where
// w = (q - zero_point) * scale in fp32, one scale and zero point for each block of K. b [N, blocks, block * bits / 8] holds q
// packed, low bits first; zero points are packed likewise for each row, or floats; 2^(bits - 1) where absent.

struct Blocks {
  std::int64_t K, N, bits, size, count;
};

Blocks read_blocks(const Node& node) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  const Blocks blocks{node.get_int("K", 0), node.get_int("N", 0), node.get_int("bits", 4), node.get_int("block_size", 0), 0};
  if (blocks.K < 1 || blocks.N < 1 || blocks.K > kMost || blocks.N > kMost)
    fail(ErrorCode::kBadAttribute, node, fmt::format("K is {} and N is {}", blocks.K, blocks.N));
  if (blocks.bits != 2 && blocks.bits != 4 && blocks.bits != 8)
    fail(ErrorCode::kUnsupported, node, fmt::format("{} bits do not run, 2, 4 and 8 do", blocks.bits));
  if (blocks.size < 16 || blocks.size > (1 << 20) || (blocks.size & (blocks.size - 1)) != 0)
    fail(ErrorCode::kBadAttribute, node, fmt::format("block_size is {}, must be a power of two from 16 on", blocks.size));
  return {blocks.K, blocks.N, blocks.bits, blocks.size, (blocks.K + blocks.size - 1) / blocks.size};
}

void check_size(const Node& node, const TensorType& type, std::int64_t wanted, const char* what) {
  if (!type.shape) return;
  const auto count = known_count(*type.shape);
  if (count && *count != wanted)
    fail(ErrorCode::kBadShape, node, fmt::format("{} {} must have {} elements", what, to_string(*type.shape), wanted));
}

std::vector<TensorType> matmul_nbits_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const Blocks blocks = read_blocks(node);
  const TensorType& a = args.inputs[0];
  if (present(args.inputs[4])) fail(ErrorCode::kUnsupported, node, "g_idx does not run");
  check_size(node, args.inputs[1], blocks.N * blocks.count * (blocks.size * blocks.bits / 8), "B");
  check_size(node, args.inputs[2], blocks.N * blocks.count, "scales");
  check_size(node, args.inputs[3],
             args.inputs[3].dtype == DType::u8 ? blocks.N * ((blocks.count * blocks.bits + 7) / 8) : blocks.N * blocks.count,
             "zero_points");
  check_size(node, args.inputs[5], blocks.N, "bias");
  TensorType y{a.dtype, a.shape};
  if (y.shape) {
    if (y.shape->empty()) fail(ErrorCode::kBadShape, node, "A is a scalar");
    merge(node, y.shape->back(), Dim(blocks.K));
    y.shape->back() = Dim(blocks.N);
  }
  return {y};
}

std::vector<Tensor> matmul_nbits(const ComputeArgs& args) {
  const Node& node = args.node;
  const Blocks blocks = read_blocks(node);
  const Tensor &a = args.inputs[0], &b = args.inputs[1], &scales = args.inputs[2], &zeros = args.inputs[3],
               &bias = args.inputs[5];
  if (a.dtype() != DType::f32) fail_type(node, 0, a.dtype());
  if (b.dtype() != DType::u8) fail_type(node, 1, b.dtype());
  const auto scale = scales.values<float>();
  const auto packed_bytes = b.values<std::uint8_t>();
  const std::int64_t row_bytes = blocks.count * (blocks.size * blocks.bits / 8),
                     zero_bytes = (blocks.count * blocks.bits + 7) / 8;
  const auto field = [&](std::uint8_t byte, std::int64_t index) {
    const std::int64_t per_byte = 8 / blocks.bits;
    return (byte >> (index % per_byte * blocks.bits)) & ((1 << blocks.bits) - 1);
  };
  const auto zero_of = [&](std::int64_t n, std::int64_t block) {
    if (!zeros.defined()) return static_cast<float>(1 << (blocks.bits - 1));
    if (zeros.dtype() != DType::u8) return zeros.values<float>()[n * blocks.count + block];
    return static_cast<float>(field(zeros.values<std::uint8_t>()[n * zero_bytes + block * blocks.bits / 8], block));
  };
  Tensor y = make_output(args);
  const auto src = a.values<float>();
  const auto dst = y.mutable_values<float>();
  std::vector<float> row(static_cast<std::size_t>(blocks.K));
  for (std::int64_t n = 0; n < blocks.N; ++n) {
    for (std::int64_t k = 0; k < blocks.K; ++k) {
      const std::int64_t block = k / blocks.size;
      const int q = field(packed_bytes[n * row_bytes + k * blocks.bits / 8], k);
      row[k] = (static_cast<float>(q) - zero_of(n, block)) * scale[n * blocks.count + block];
    }
    const float summand = bias.defined() ? bias.values<float>()[n] : 0.0F;
    for (std::int64_t m = 0; m < y.size() / blocks.N; ++m) {
      float sum = 0;
      for (std::int64_t k = 0; k < blocks.K; ++k) sum += src[m * blocks.K + k] * row[k];
      dst[m * blocks.N + n] = bias.defined() ? sum + summand : sum;
    }
  }
  return one(std::move(y));
}

std::int64_t matmul_nbits_macs(const Node& node, std::span<const TensorType>, std::span<const TensorType> outputs) {
  if (outputs.empty() || !outputs[0].shape) return 0;
  return product(known_count(*outputs[0].shape), std::max<std::int64_t>(0, node.get_int("K", 0)));
}

// ---- DynamicQuantizeMatMul(a, b, b_scale, b_zero, bias) and MatMulIntegerToFloat(a, b, a_scale, b_scale, a_zero, b_zero,
// bias): float(sum) * (a_scale * b_scale) + bias. The first quantizes a, all of it, as DynamicQuantizeLinear does.

struct ProductInputs {
  std::size_t b_scale, b_zero, bias;
};
ProductInputs product_inputs(const Node& node) {
  return node.op_type == "DynamicQuantizeMatMul" ? ProductInputs{2, 3, 4} : ProductInputs{3, 5, 6};
}

std::vector<TensorType> product_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const ProductInputs at = product_inputs(node);
  TensorType y{DType::f32, matmul_shape(node, args.inputs[0], args.inputs[1])};
  if (const auto& b = args.inputs[1].shape; b && b->size() >= 2) {
    for (const std::size_t i : {at.b_scale, at.b_zero}) {
      const auto& own = args.inputs[i].shape;
      const auto count = own ? known_count(*own) : std::nullopt;
      const Dim& columns = b->back();
      if (count && columns.fixed() && *count != 1 && *count != columns.value)
        fail(ErrorCode::kUnsupported, node, "parameters " + to_string(*own) + " are neither one nor one a column");
    }
    if (b->back().fixed()) check_size(node, args.inputs[at.bias], b->back().value, "bias");
  }
  return {y};
}

std::vector<Tensor> quantized_product(const ComputeArgs& args) {
  const Node& node = args.node;
  const ProductInputs at = product_inputs(node);
  const auto& in = args.inputs;
  if (in[1].rank() < 2) fail(ErrorCode::kBadShape, node, "B must have at least 2 axes");
  std::vector<std::int32_t> a;
  float a_scale = 0;
  std::int32_t a_zero = 0;
  if (node.op_type == "DynamicQuantizeMatMul") {
    const auto x = in[0].values<float>();
    const DynamicQuantization p = dynamic_quantization(x);
    for (const float value : x) a.push_back(numerics::quantize(value, p.scale, p.zero_point, {0, 255}));
    a_scale = p.scale;
    a_zero = p.zero_point;
  } else {
    a = read_integers(node, in[0]);
    a_scale = scalar_scale(node, in[2]);
    a_zero = scalar_zero(node, in[4]);
  }
  const std::vector<std::int32_t> b = read_integers(node, in[1]);
  const std::int64_t N = in[1].dims().back();
  const auto b_scale = channel_scales(node, in[at.b_scale], N);
  const auto b_zero = channel_zeros(node, in[at.b_zero], N);
  Tensor y = make_output(args);
  std::vector<std::int64_t> sums(static_cast<std::size_t>(y.size()));
  multiply<std::int64_t>(
      matmul_geometry(node, in[0].dims(), in[1].dims()), std::span<const std::int32_t>(a), std::span<const std::int32_t>(b),
      std::span(sums), [=](std::int32_t value) { return std::int64_t{value} - a_zero; },
      [&](std::int32_t value, std::int64_t n) { return std::int64_t{value} - b_zero[n]; });
  const auto out = y.mutable_values<float>();
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t n = static_cast<std::int64_t>(i) % N;
    out[i] = static_cast<float>(sums[i]) * (a_scale * b_scale[n]);
    if (in[at.bias].defined()) out[i] += in[at.bias].values<float>()[n];
  }
  return one(std::move(y));
}

std::int64_t product_macs(const Node&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return matmul_macs(inputs[0], outputs);
}

// ---- NhwcMaxPool: MaxPool of x [N,...,C]

Dims channels_first(Dims dims) {
  std::rotate(dims.begin() + 1, dims.end() - 1, dims.end());
  return dims;
}

std::vector<TensorType> nhwc_max_pool_shape(const ShapeArgs& args) {
  std::vector<TensorType> inputs(args.inputs.begin(), args.inputs.end());
  if (inputs[0].shape && inputs[0].shape->size() > 2)
    std::rotate(inputs[0].shape->begin() + 1, inputs[0].shape->end() - 1, inputs[0].shape->end());
  TensorType y = pool_shape({args.node, args.opset, inputs, args.constants, args.integers})[0];
  if (y.shape) std::rotate(y.shape->begin() + 1, y.shape->begin() + 2, y.shape->end());
  return {y};
}

std::vector<Tensor> nhwc_max_pool(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const Dims dims = channels_first(x.dims());
  const auto axes = pool_axes(args.node, dims);
  const std::int64_t C = dims[1], plane = axes[0].input * axes[1].input * axes[2].input,
                     out_plane = axes[0].output * axes[1].output * axes[2].output;
  Tensor y = make_output(args);
  with_integers(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>();
    const auto dst = y.mutable_values<T>();
    for_each_window(axes, dims[0] * C, false, [&](std::int64_t output, std::int64_t, const auto& inside, std::int64_t) {
      const std::int64_t n = output / (C * out_plane), c = output / out_plane % C;
      T most = std::numeric_limits<T>::lowest();
      for (const std::int64_t i : inside) most = std::max(most, src[(n * plane + i) * C + c]);
      dst[(n * out_plane + output % out_plane) * C + c] = most;
    });
  });
  return one(std::move(y));
}

// ---- QLinearReduceMean(x, x_scale, x_zero, y_scale, y_zero): float(sum(q - x_zero)) * x_scale / count, quantized

std::vector<TensorType> reduce_mean_shape(const ShapeArgs& args) {
  const TensorType& x = args.inputs[0];
  if (!x.shape) return {{x.dtype, std::nullopt}};
  const auto given = args.node.get_ints("axes");
  std::vector<bool> reduced(x.shape->size(), given.empty());
  for (const std::size_t axis : normalize_axes(args.node, given, x.shape->size())) reduced[axis] = true;
  const bool keep = args.node.get_int("keepdims", 1) != 0;
  Shape shape;
  for (std::size_t i = 0; i < reduced.size(); ++i) {
    if (!reduced[i]) shape.push_back((*x.shape)[i]);
    if (reduced[i] && keep) shape.emplace_back(1);
  }
  return {{x.dtype, shape}};
}

std::vector<Tensor> qlinear_reduce_mean(const ComputeArgs& args) {
  const Node& node = args.node;
  const auto& in = args.inputs;
  const std::vector<std::int32_t> q = read_integers(node, in[0]);
  const float x_scale = scalar_scale(node, in[1]), y_scale = scalar_scale(node, in[3]);
  const std::int32_t x_zero = scalar_zero(node, in[2]), y_zero = scalar_zero(node, in[4]);
  Dims kept = in[0].dims();
  const auto given = node.get_ints("axes");
  const auto axes = normalize_axes(node, given, in[0].rank());
  for (std::size_t i = 0; i < kept.size(); ++i)
    if (given.empty() || std::find(axes.begin(), axes.end(), i) != axes.end()) kept[i] = 1;
  std::vector<std::int64_t> sums(static_cast<std::size_t>(element_count(kept)));
  walk<1>(in[0].dims(), {broadcast_strides(kept, in[0].dims())},
          [&](std::int64_t i, const auto& at) { sums[at[0]] += q[i] - x_zero; });
  const auto count = static_cast<float>(sums.empty() ? 1 : q.size() / sums.size());
  std::vector<std::int32_t> result;
  for (const std::int64_t sum : sums)
    result.push_back(
        numerics::quantize((static_cast<float>(sum) * x_scale) / count, y_scale, y_zero, limits_of(in[0].dtype())));
  return one(write_integers(result, in[0].dtype(), output_dims(args)));
}

// ---- QLinearWhere(condition, x, x_scale, x_zero, y, y_scale, y_zero, z_scale, z_zero)

std::vector<TensorType> qlinear_where_shape(const ShapeArgs& args) {
  TensorType z{same_dtype(args.node, args.inputs[1].dtype, args.inputs[4].dtype), std::nullopt};
  if (args.inputs[0].shape && args.inputs[1].shape && args.inputs[4].shape)
    z.shape = broadcast(args.node, broadcast(args.node, *args.inputs[0].shape, *args.inputs[1].shape), *args.inputs[4].shape);
  return {z};
}

std::vector<Tensor> qlinear_where(const ComputeArgs& args) {
  const Node& node = args.node;
  const auto& in = args.inputs;
  const DType dtype = args.outputs[0].dtype;
  const float scale = scalar_scale(node, in[7]);
  const std::int32_t zero = scalar_zero(node, in[8]);
  const auto requantized = [&](std::size_t input) {
    std::vector<std::int32_t> values = read_integers(node, in[input]);
    const float own_scale = scalar_scale(node, in[input + 1]);
    const std::int32_t own_zero = scalar_zero(node, in[input + 2]);
    if (own_scale == scale && own_zero == zero) return values;
    for (std::int32_t& value : values)
      value = numerics::quantize(numerics::dequantize(value, own_scale, own_zero), scale, zero, limits_of(dtype));
    return values;
  };
  const std::vector<std::int32_t> x = requantized(1), y = requantized(4);
  const auto condition = in[0].values<bool>();
  const Dims dims = output_dims(args);
  std::vector<std::int32_t> result(static_cast<std::size_t>(element_count(dims)));
  walk<3>(dims,
          {broadcast_strides(in[0].dims(), dims), broadcast_strides(in[1].dims(), dims), broadcast_strides(in[4].dims(), dims)},
          [&](std::int64_t i, const auto& at) { result[i] = condition[at[0]] ? x[at[1]] : y[at[2]]; });
  return one(write_integers(result, dtype, dims));
}

}  // namespace

std::vector<Operator> quantized_product_operators() {
  return {
      microsoft("MatMulNBits", 3, 6, matmul_nbits_shape, half_in_f32<matmul_nbits>, matmul_nbits_macs),
      microsoft("DynamicQuantizeMatMul", 3, 5, product_shape, quantized_product, product_macs),
      microsoft("MatMulIntegerToFloat", 4, 7, product_shape, quantized_product, product_macs),
      microsoft("NhwcMaxPool", 1, 1, nhwc_max_pool_shape, nhwc_max_pool),
      microsoft("QLinearReduceMean", 4, 5, reduce_mean_shape, qlinear_reduce_mean),
      microsoft("QLinearWhere", 9, 9, qlinear_where_shape, qlinear_where),
  };
}

}  // namespace zeropoint::ops
