// QuantizeLinear, DequantizeLinear (per tensor, per axis, blocked; also com.microsoft's twins), DynamicQuantizeLinear.
// The arithmetic is that of numerics/quantize.h.
#include <fmt/format.h>

#include <algorithm>

#include "ir/float8.h"
#include "ops/families.h"
#include "ops/quantized.h"

namespace zeropoint::ops {

ParameterMap parameter_map(const Node& node, const Shape& dims, const Shape& parameters, std::int64_t axis,
                           std::int64_t block) {
  ParameterMap map;
  const auto mismatch = [&] {
    fail(ErrorCode::kBadShape, node,
         fmt::format("scale {} does not fit {} along axis {}", to_string(parameters), to_string(dims), axis));
  };
  if (block < 0) fail(ErrorCode::kBadAttribute, node, fmt::format("block_size is {}", block));
  if (parameters.empty() || (block == 0 && parameters.size() == 1 && parameters[0].value == 1)) return map;
  const std::size_t at = normalize_axis(node, axis, dims.size());
  map.single = false;
  map.length = dims[at].value;
  for (std::size_t i = at + 1; i < dims.size(); ++i) map.inner *= dims[i].fixed() ? dims[i].value : 1;
  if (block == 0) {
    if (parameters.size() != 1 || (parameters[0].fixed() && dims[at].fixed() && parameters[0] != dims[at])) mismatch();
    return map;
  }
  if (parameters.size() != dims.size()) mismatch();
  map.block = block;
  map.blocks = parameters[at].value;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (!dims[i].fixed() || !parameters[i].fixed()) continue;
    if (parameters[i].value != (i == at ? (dims[i].value + block - 1) / block : dims[i].value)) mismatch();
  }
  return map;
}

std::vector<std::int32_t> read_integers(const Node& node, const Tensor& tensor) {
  std::vector<std::int32_t> values(static_cast<std::size_t>(tensor.size()));
  const Tensor bytes = unpacked(tensor);
  with_integers(node, bytes.dtype(), [&]<class T>(T) {
    if constexpr (sizeof(T) <= 4) {
      const auto src = bytes.values<T>();
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int32_t>(src[i]);
    } else {
      fail_type(node, 0, bytes.dtype());
    }
  });
  return values;
}

Tensor write_integers(std::span<const std::int32_t> values, DType dtype, const Dims& dims) {
  const bool narrow = bits(dtype) < 8;
  Tensor result(!narrow ? dtype : lowest(dtype) < 0 ? DType::s8 : DType::u8, dims);
  const auto store = [&]<class W>(W) {
    const auto dst = mutable_words<W>(result);
    for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = static_cast<W>(values[i]);
  };
  if (bits(result.dtype()) == 8)
    store(std::uint8_t{});
  else if (bits(result.dtype()) == 16)
    store(std::uint16_t{});
  else
    store(std::uint32_t{});
  return narrow ? packed(result, dtype) : result;
}

float scalar_scale(const Node& node, const Tensor& scale) {
  if (scale.size() != 1) fail(ErrorCode::kBadShape, node, "a scale of shape " + to_string(scale.dims()) + " must be a scalar");
  return widened(scale).values<float>()[0];
}

std::int32_t scalar_zero(const Node& node, const Tensor& zero_point) {
  if (!zero_point.defined()) return 0;
  if (zero_point.size() != 1)
    fail(ErrorCode::kBadShape, node, "a zero point of shape " + to_string(zero_point.dims()) + " must be a scalar");
  return read_integers(node, zero_point)[0];
}

std::vector<float> channel_scales(const Node& node, const Tensor& scale, std::int64_t count) {
  const Tensor wide = widened(scale);
  const auto values = wide.values<float>();
  if (scale.size() == 1) return std::vector<float>(static_cast<std::size_t>(count), values[0]);
  if (scale.size() != count) fail(ErrorCode::kBadShape, node, fmt::format("{} scales for {} channels", scale.size(), count));
  return {values.begin(), values.end()};
}

std::vector<std::int32_t> channel_zeros(const Node& node, const Tensor& zero_point, std::int64_t count) {
  if (!zero_point.defined()) return std::vector<std::int32_t>(static_cast<std::size_t>(count), 0);
  std::vector<std::int32_t> values = read_integers(node, zero_point);
  if (values.size() == 1) return std::vector<std::int32_t>(static_cast<std::size_t>(count), values[0]);
  if (zero_point.size() != count)
    fail(ErrorCode::kBadShape, node, fmt::format("{} zero points for {} channels", values.size(), count));
  return values;
}

namespace {

bool quantized_type(DType dtype) { return is_integer(dtype) && bits(dtype) <= 16; }

DType output_dtype(const Node& node) {  // undefined without the attribute
  const std::int64_t code = node.get_int("output_dtype", 0);
  return code == 0 ? DType::undefined : dtype_of_code(node, code);
}

// The formats that QuantizeLinear rounds to as floats.
bool quantized_float(DType dtype) { return is_float8(dtype) && dtype != DType::f8e8m0; }

// ONNX gives 8-bit floats no zero point but 0.
void check_float_zero(const Node& node, const Tensor& zero_point) {
  if (!zero_point.defined()) return;
  for (const double value : doubles(node, zero_point))
    if (value != 0) fail(ErrorCode::kBadArgument, node, "a zero point of 8-bit floats is not 0");
}

void check_parameters(const ShapeArgs& args) {
  const TensorType &x = args.inputs[0], &scale = args.inputs[1], &zero = args.inputs[2];
  if (x.shape && scale.shape)
    parameter_map(args.node, *x.shape, *scale.shape, args.node.get_int("axis", 1), args.node.get_int("block_size", 0));
  if (scale.shape && zero.shape && known_count(*scale.shape) && known_count(*zero.shape) &&
      known_count(*scale.shape) != known_count(*zero.shape))
    fail(ErrorCode::kBadShape, args.node,
         fmt::format("scale {} and zero point {} differ", to_string(*scale.shape), to_string(*zero.shape)));
}

std::vector<float> scales_of(const Node& node, const Tensor& scale) {
  std::vector<float> result;
  for (const double value : doubles(node, scale)) result.push_back(static_cast<float>(value));
  return result;
}

// ---- QuantizeLinear

std::vector<TensorType> quantize_linear_shape(const ShapeArgs& args) {
  check_parameters(args);
  DType dtype = args.inputs[2].dtype;
  if (dtype == DType::undefined && args.node.input(2).empty()) {
    dtype = output_dtype(args.node);
    if (dtype == DType::undefined) dtype = DType::u8;
  }
  if (dtype != DType::undefined && dtype != DType::opaque && !quantized_type(dtype) && !quantized_float(dtype))
    fail_type(args.node, 2, dtype);
  return {{dtype, args.inputs[0].shape}};
}

std::vector<Tensor> quantize_linear(const ComputeArgs& args) {
  const DType dtype = args.outputs[0].dtype;
  if (!quantized_type(dtype) && !quantized_float(dtype))
    fail(ErrorCode::kUnsupported, args.node, "its quantized type does not run");
  const Tensor& x = args.inputs[0];
  std::vector<float> values(static_cast<std::size_t>(x.size()));
  if (x.dtype() == DType::s32) {
    const auto src = x.values<std::int32_t>();
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(src[i]);
  } else {
    const auto src = x.values<float>();
    values.assign(src.begin(), src.end());
  }
  const std::vector<float> scale = scales_of(args.node, args.inputs[1]);
  const ParameterMap map = parameter_map(args.node, to_shape(x.dims()), to_shape(args.inputs[1].dims()),
                                         args.node.get_int("axis", 1), args.node.get_int("block_size", 0));
  if (quantized_float(dtype)) {
    check_float_zero(args.node, args.inputs[2]);
    const bool saturate = args.node.get_int("saturate", 1) != 0;
    Tensor codes(DType::u8, x.dims());
    const auto dst = codes.mutable_values<std::uint8_t>();
    for (std::size_t i = 0; i < values.size(); ++i)
      dst[i] = encode_float8(dtype, values[i] / scale[map[static_cast<std::int64_t>(i)]], saturate);
    if (bits(dtype) < 8) return one(packed(codes, dtype));
    Tensor y(dtype, x.dims());
    std::ranges::copy(dst, mutable_words<std::uint8_t>(y).begin());
    return one(std::move(y));
  }
  const auto zero = channel_zeros(args.node, args.inputs[2], args.inputs[1].size());
  std::vector<std::int32_t> result(values.size());
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::int64_t at = map[static_cast<std::int64_t>(i)];
    result[i] = numerics::quantize(values[i], scale[at], zero[at], limits_of(dtype));
  }
  return one(write_integers(result, dtype, x.dims()));
}

// ---- DequantizeLinear

std::vector<TensorType> dequantize_linear_shape(const ShapeArgs& args) {
  check_parameters(args);
  const TensorType& x = args.inputs[0];
  if (x.dtype != DType::undefined && x.dtype != DType::opaque && x.dtype != DType::s32 && !quantized_type(x.dtype) &&
      !quantized_float(x.dtype))
    fail_type(args.node, 0, x.dtype);
  if (args.inputs[2].dtype != DType::undefined) same_dtype(args.node, x.dtype, args.inputs[2].dtype);
  DType dtype = output_dtype(args.node);
  if (dtype == DType::undefined) dtype = args.inputs[1].dtype == DType::f8e8m0 ? DType::f32 : args.inputs[1].dtype;
  return {{dtype, x.shape}};
}

std::vector<Tensor> dequantize_linear(const ComputeArgs& args) {
  const Tensor& x = args.inputs[0];
  const std::vector<float> scale = scales_of(args.node, args.inputs[1]);
  const ParameterMap map = parameter_map(args.node, to_shape(x.dims()), to_shape(args.inputs[1].dims()),
                                         args.node.get_int("axis", 1), args.node.get_int("block_size", 0));
  Tensor y(DType::f32, x.dims());
  const auto dst = y.mutable_values<float>();
  if (quantized_float(x.dtype())) {
    check_float_zero(args.node, args.inputs[2]);
    const Tensor wide = float8_to_f32(x);
    const auto src = wide.values<float>();
    for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = src[i] * scale[map[static_cast<std::int64_t>(i)]];
    return one(narrowed(y, args.outputs[0].dtype));
  }
  const auto values = read_integers(args.node, x);
  const auto zero = channel_zeros(args.node, args.inputs[2], args.inputs[1].size());
  for (std::size_t i = 0; i < dst.size(); ++i) {
    const std::int64_t at = map[static_cast<std::int64_t>(i)];
    dst[i] = static_cast<float>(std::int64_t{values[i]} - zero[at]) * scale[at];
  }
  return one(narrowed(y, args.outputs[0].dtype));
}

// ---- DynamicQuantizeLinear: u8 over [min(0, x), max(0, x)]

std::vector<TensorType> dynamic_quantize_linear_shape(const ShapeArgs& args) {
  return {{DType::u8, args.inputs[0].shape}, {DType::f32, Shape{}}, {DType::u8, Shape{}}};
}

std::vector<Tensor> dynamic_quantize_linear(const ComputeArgs& args) {
  const auto x = args.inputs[0].values<float>();
  const auto [scale, zero_point] = dynamic_quantization(x);
  std::vector<std::int32_t> q(x.size());
  for (std::size_t i = 0; i < q.size(); ++i) q[i] = numerics::quantize(x[i], scale, zero_point, {0, 255});
  return {write_integers(q, DType::u8, args.inputs[0].dims()), Tensor::scalar(scale),
          Tensor::scalar(static_cast<std::uint8_t>(zero_point))};
}

}  // namespace

DynamicQuantization dynamic_quantization(std::span<const float> x) {
  float least = 0, most = 0;
  for (const float value : x) {
    if (value < least) least = value;
    if (value > most) most = value;
  }
  const float scale = most == least ? 1.0F : (most - least) / 255.0F;
  const float zero = std::clamp(numerics::round_half_even(std::clamp(0.0F - least / scale, 0.0F, 255.0F)), 0.0F, 255.0F);
  const auto zero_point = zero == zero ? static_cast<std::int32_t>(zero) : 0;  // an infinite range has no zero point
  return {scale, zero_point};
}

std::vector<Operator> quantize_linear_operators() {
  return {
      {.op_type = "QuantizeLinear",
       .since = 10,
       .min_inputs = 2,
       .max_inputs = 3,
       .shape = quantize_linear_shape,
       .reference = half_in_f32<quantize_linear>},
      {.op_type = "DequantizeLinear",
       .since = 10,
       .min_inputs = 2,
       .max_inputs = 3,
       .shape = dequantize_linear_shape,
       .reference = half_in_f32<dequantize_linear>},
      {.op_type = "DynamicQuantizeLinear",
       .since = 11,
       .shape = dynamic_quantize_linear_shape,
       .reference = dynamic_quantize_linear},
      {.domain = "com.microsoft",
       .op_type = "QuantizeLinear",
       .min_inputs = 2,
       .max_inputs = 3,
       .shape = quantize_linear_shape,
       .reference = half_in_f32<quantize_linear>},
      {.domain = "com.microsoft",
       .op_type = "DequantizeLinear",
       .min_inputs = 2,
       .max_inputs = 3,
       .shape = dequantize_linear_shape,
       .reference = half_in_f32<dequantize_linear>},
  };
}

}  // namespace zeropoint::ops
