// Conv, ConvInteger, ConvTranspose.
#include "ops/convolution.h"

#include <fmt/format.h>

#include "ops/families.h"

namespace zeropoint::ops {

Convolution read_convolution(const Node& node, const Dims& x, const Dims& w) {
  const Shape shape = to_shape(x);
  auto axes = window_axes(node, std::span(shape).subspan(2), {w.begin() + 2, w.end()});
  return {x[0], x[1], w[0], node.get_int("group", 1), as_three(node, std::move(axes))};
}

std::vector<TensorType> convolution_shape(const ShapeArgs& args, std::size_t w_input, DType result) {
  const Node& node = args.node;
  const TensorType &x = args.inputs[0], &w = args.inputs[w_input];
  if (!x.shape) return {{result, w.shape ? std::optional(unknown_shape(w.shape->size())) : std::nullopt}};
  const Shape& in = *x.shape;
  if (in.size() < 3) fail(ErrorCode::kBadShape, node, "input " + to_string(in) + " has no spatial dimensions");
  Shape out = unknown_shape(in.size());
  out[0] = in[0];
  if (!w.shape) return {{result, out}};
  const Shape& weights = *w.shape;
  if (weights.size() != in.size())
    fail(ErrorCode::kBadShape, node, fmt::format("input {} and weights {} differ in rank", to_string(in), to_string(weights)));
  const std::int64_t groups = node.get_int("group", 1);
  if (groups < 1) fail(ErrorCode::kBadAttribute, node, fmt::format("group is {}", groups));
  if (in[1].fixed() && weights[1].fixed() && (in[1].value % groups != 0 || in[1].value / groups != weights[1].value))
    fail(ErrorCode::kBadShape, node,
         fmt::format("input {} has {} channels, weights {} take {} in each of {} groups", to_string(in), in[1].value,
                     to_string(weights), weights[1].value, groups));
  if (weights[0].fixed() && weights[0].value % groups != 0)
    fail(ErrorCode::kBadShape, node, fmt::format("{} output channels do not split into {} groups", weights[0].value, groups));
  out[1] = weights[0];
  std::vector<std::int64_t> kernel;
  for (std::size_t i = 2; i < weights.size(); ++i) kernel.push_back(weights[i].value);
  const auto axes = window_axes(node, std::span(in).subspan(2), kernel);
  for (std::size_t i = 0; i < axes.size(); ++i) out[i + 2] = Dim(axes[i].output);
  return {{result, out}};
}

std::int64_t convolution_macs(std::span<const TensorType> inputs, std::span<const TensorType> outputs, std::size_t w_input) {
  if (w_input >= inputs.size() || outputs.empty() || !outputs[0].shape) return 0;
  if (!inputs[w_input].shape || inputs[w_input].shape->empty()) return 0;
  const auto results = known_count(*outputs[0].shape);
  const auto weights = known_count(std::span(*inputs[w_input].shape).subspan(1));  // of one output channel
  return product(results, weights);
}

namespace {

void check_bias(const Node& node, const TensorType& bias, const TensorType& output) {
  if (!bias.shape || !output.shape) return;
  const Dim& channels = (*output.shape)[1];
  if (bias.shape->size() != 1 || ((*bias.shape)[0].fixed() && channels.fixed() && (*bias.shape)[0] != channels))
    fail(ErrorCode::kBadShape, node, "bias " + to_string(*bias.shape) + " does not fit output " + to_string(*output.shape));
}

// ---- Conv: y[n,o] = sum of x w, then + bias[o]

std::vector<TensorType> conv_shape(const ShapeArgs& args) {
  const DType dtype = same_dtype(args.node, args.inputs[0].dtype, args.inputs[1].dtype);
  same_dtype(args.node, dtype, args.inputs[2].dtype);
  std::vector<TensorType> result = convolution_shape(args, 1, dtype);
  check_bias(args.node, args.inputs[2], result[0]);
  return result;
}

template <class T>
void add_bias(Tensor& y, const Tensor& bias) {
  if (!bias.defined()) return;
  const auto b = bias.values<T>();
  const auto values = y.mutable_values<T>();
  const std::size_t channels = b.size(),
                    plane = values.size() / std::max<std::size_t>(1, channels * static_cast<std::size_t>(y.dim(0)));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] += b[i / plane % channels];
}

std::vector<Tensor> conv(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &w = args.inputs[1];
  Tensor y = make_output(args);
  const Convolution geometry = read_convolution(args.node, x.dims(), w.dims());
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    convolve<T>(
        geometry, x.values<T>(), w.values<T>(), y.mutable_values<T>(), [](T value) { return value; },
        [](T value, std::int64_t) { return value; });
    add_bias<T>(y, args.inputs[2]);
  });
  return one(std::move(y));
}

std::int64_t conv_macs(const Node&, std::span<const TensorType> inputs, std::span<const TensorType> outputs) {
  return convolution_macs(inputs, outputs, 1);
}

// ---- ConvInteger: y = sum of (x - x_zero_point) (w - w_zero_point[o]) in s32

std::vector<TensorType> conv_integer_shape(const ShapeArgs& args) {
  std::vector<TensorType> result = convolution_shape(args, 1, DType::s32);
  const auto check = [&](std::size_t input, const Dim& channels) {
    const TensorType& zero = args.inputs[input];
    if (zero.dtype != DType::undefined) same_dtype(args.node, args.inputs[input - 2].dtype, zero.dtype);
    const auto count = zero.shape ? known_count(*zero.shape) : std::nullopt;
    if (count && *count != 1 && !(channels.fixed() ? *count == channels.value : input == 3))
      fail(ErrorCode::kBadShape, args.node, fmt::format("{} zero points in input {}", *count, input));
  };
  check(2, Dim(1));
  check(3, result[0].shape ? (*result[0].shape)[1] : Dim());
  return result;
}

std::vector<Tensor> conv_integer(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &w = args.inputs[1];
  Tensor y = make_output(args);
  const Convolution geometry = read_convolution(args.node, x.dims(), w.dims());
  std::vector<std::int64_t> sums(static_cast<std::size_t>(y.size()));
  with_integers(args.node, x.dtype(), [&]<class X>(X) {
    with_integers(args.node, w.dtype(), [&]<class W>(W) {
      const std::int64_t x_zero = args.inputs[2].defined() ? static_cast<std::int64_t>(args.inputs[2].values<X>()[0]) : 0;
      std::vector<std::int64_t> w_zero(static_cast<std::size_t>(geometry.O), 0);
      if (args.inputs[3].defined())
        for (std::size_t o = 0; o < w_zero.size(); ++o)
          w_zero[o] = static_cast<std::int64_t>(args.inputs[3].values<W>()[args.inputs[3].size() == 1 ? 0 : o]);
      convolve<std::int64_t>(
          geometry, x.values<X>(), w.values<W>(), std::span(sums),
          [=](X value) { return static_cast<std::int64_t>(value) - x_zero; },
          [&](W value, std::int64_t o) { return static_cast<std::int64_t>(value) - w_zero[static_cast<std::size_t>(o)]; });
    });
  });
  const auto out = y.mutable_values<std::int32_t>();
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::int32_t>(sums[i]);
  return one(std::move(y));
}

// ---- ConvTranspose: x[n,c] spreads over y[n,o] through w[c,o,...]

std::vector<WindowAxis> transpose_axes(const Node& node, std::span<const Dim> spatial,
                                       const std::vector<std::int64_t>& kernel) {
  std::vector<Dim> unknown(spatial.size());  // read the attributes; the sizes follow another rule
  std::vector<WindowAxis> axes = window_axes(node, unknown, kernel);
  const auto extra = node.get_ints("output_padding", std::vector<std::int64_t>(axes.size(), 0));
  const auto wanted = node.get_ints("output_shape");
  const std::string auto_pad = node.get_string("auto_pad", "NOTSET");
  if (extra.size() != axes.size() || (!wanted.empty() && wanted.size() != axes.size()))
    fail(ErrorCode::kBadAttribute, node, fmt::format("output_padding and output_shape need {} entries", axes.size()));
  for (std::size_t i = 0; i < axes.size(); ++i) {
    WindowAxis& axis = axes[i];
    axis.input = spatial[i].value;
    if (axis.input < 0 || axis.kernel < 0) continue;
    constexpr std::int64_t kMost = std::int64_t{1} << 31;  // keeps the products below 2^63
    if (axis.input > kMost || extra[i] < 0 || extra[i] > kMost || (!wanted.empty() && (wanted[i] < 0 || wanted[i] > kMost)))
      fail(ErrorCode::kLimit, node, fmt::format("spatial axis {} has an input, output or output_padding out of range", i));
    const std::int64_t full = (axis.input - 1) * axis.stride + extra[i] + (axis.kernel - 1) * axis.dilation + 1;
    const bool same = auto_pad.starts_with("SAME");
    if (same || !wanted.empty()) {
      axis.output = wanted.empty() ? axis.input * axis.stride : wanted[i];
      const std::int64_t total = std::max<std::int64_t>(0, full - axis.output);
      axis.pad_begin = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      axis.pad_end = total - axis.pad_begin;
    } else {
      axis.output = full - axis.pad_begin - axis.pad_end;
    }
    if (axis.output < 0) fail(ErrorCode::kBadShape, node, "padding removes the whole output");
  }
  return axes;
}

std::vector<TensorType> conv_transpose_shape(const ShapeArgs& args) {
  const Node& node = args.node;
  const TensorType &x = args.inputs[0], &w = args.inputs[1];
  const DType dtype = same_dtype(node, same_dtype(node, x.dtype, w.dtype), args.inputs[2].dtype);
  if (!x.shape || !w.shape) return {{dtype, std::nullopt}};
  const std::int64_t groups = node.get_int("group", 1);
  if (x.shape->size() < 3 || x.shape->size() != w.shape->size())
    fail(ErrorCode::kBadShape, node,
         fmt::format("input {} and weights {} do not fit", to_string(*x.shape), to_string(*w.shape)));
  constexpr std::int64_t kMostChannels = std::int64_t{1} << 44;
  if (groups < 1 || groups > kMostChannels / std::max<std::int64_t>(1, (*w.shape)[1].value))
    fail(ErrorCode::kBadAttribute, node, fmt::format("group is {}", groups));
  const Dim channels = merge(node, (*x.shape)[1], (*w.shape)[0]);
  if (channels.fixed() && channels.value % groups != 0)
    fail(ErrorCode::kBadShape, node, fmt::format("{} channels do not split into {} groups", channels.value, groups));
  Shape out = unknown_shape(x.shape->size());
  out[0] = (*x.shape)[0];
  if ((*w.shape)[1].fixed()) out[1] = Dim((*w.shape)[1].value * groups);
  std::vector<std::int64_t> kernel;
  for (std::size_t i = 2; i < w.shape->size(); ++i) kernel.push_back((*w.shape)[i].value);
  const auto axes = transpose_axes(node, std::span(*x.shape).subspan(2), kernel);
  for (std::size_t i = 0; i < axes.size(); ++i) out[i + 2] = Dim(axes[i].output);
  std::vector<TensorType> result = {{dtype, out}};
  check_bias(node, args.inputs[2], result[0]);
  return result;
}

std::vector<Tensor> conv_transpose(const ComputeArgs& args) {
  const Tensor &x = args.inputs[0], &w = args.inputs[1];
  Tensor y = make_output(args);
  const Shape shape = to_shape(x.dims());
  const auto axes =
      as_three(args.node, transpose_axes(args.node, std::span(shape).subspan(2), {w.dims().begin() + 2, w.dims().end()}));
  const WindowAxis &D = axes[0], &H = axes[1], &V = axes[2];
  const std::int64_t N = x.dim(0), C = x.dim(1), O = y.dim(1), groups = args.node.get_int("group", 1);
  const std::int64_t x_plane = D.input * H.input * V.input, y_plane = D.output * H.output * V.output,
                     w_plane = D.kernel * H.kernel * V.kernel;
  with_floats(args.node, x.dtype(), [&]<class T>(T) {
    const auto src = x.values<T>(), weights = w.values<T>();
    const auto dst = y.mutable_values<T>();
    for (std::int64_t n = 0; n < N; ++n)
      for (std::int64_t o = 0; o < O; ++o)
        for (std::int64_t c = o / (O / groups) * (C / groups); c < (o / (O / groups) + 1) * (C / groups); ++c)
          for (std::int64_t i = 0; i < x_plane; ++i)
            for (std::int64_t k = 0; k < w_plane; ++k) {
              const std::int64_t d = i / (H.input * V.input) * D.stride + k / (H.kernel * V.kernel) * D.dilation - D.pad_begin;
              const std::int64_t h = i / V.input % H.input * H.stride + k / V.kernel % H.kernel * H.dilation - H.pad_begin;
              const std::int64_t v = i % V.input * V.stride + k % V.kernel * V.dilation - V.pad_begin;
              if (d < 0 || d >= D.output || h < 0 || h >= H.output || v < 0 || v >= V.output) continue;
              dst[(n * O + o) * y_plane + (d * H.output + h) * V.output + v] +=
                  src[(n * C + c) * x_plane + i] * weights[(c * (O / groups) + o % (O / groups)) * w_plane + k];
            }
    add_bias<T>(y, args.inputs[2]);
  });
  return one(std::move(y));
}

std::int64_t conv_transpose_macs(const Node&, std::span<const TensorType> inputs, std::span<const TensorType>) {
  if (inputs.size() < 2 || !inputs[0].shape || !inputs[1].shape || inputs[1].shape->empty()) return 0;
  const auto values = known_count(*inputs[0].shape), weights = known_count(std::span(*inputs[1].shape).subspan(1));
  return product(values, weights);
}

}  // namespace

std::vector<Operator> convolution_operators() {
  return {
      {.op_type = "Conv",
       .min_inputs = 2,
       .max_inputs = 3,
       .shape = conv_shape,
       .reference = half_in_f32<conv>,
       .macs = conv_macs},
      {.op_type = "ConvInteger",
       .since = 10,
       .min_inputs = 2,
       .max_inputs = 4,
       .shape = conv_integer_shape,
       .reference = conv_integer,
       .macs = conv_macs},
      {.op_type = "ConvTranspose",
       .min_inputs = 2,
       .max_inputs = 3,
       .shape = conv_transpose_shape,
       .reference = half_in_f32<conv_transpose>,
       .macs = conv_transpose_macs},
  };
}

}  // namespace zeropoint::ops
