// Integer operators that run on the kernels of 2-d convolution in another shape: ConvTranspose, convolutions over three
// dimensions, products of two computed matrices; and PRelu with a slope a channel.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/conv_q8/conv_q8.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

std::int64_t floor_divide(std::int64_t a, std::int64_t b) { return a / b - (a % b != 0 && a < 0 ? 1 : 0); }

// One spatial axis of a ConvTranspose as convolutions over its input, a phase for each of `stride` neighbouring outputs:
//   out[q * stride + r] = sum over u of x[q + first + u] * w[tap[r][u]]      (tap -1: no weight there)
// From out[o] = sum of x[i] w[k] over i * stride + k * dilation - pad = o: i = q + (r + pad - k * dilation) / stride.
struct PhaseAxis {
  std::int64_t stride = 1, first = 0, taps = 1, input = 1, output = 1, kernel = 1;
  std::vector<std::vector<std::int64_t>> tap;  // [phase][u]
};

PhaseAxis phases(std::int64_t stride, std::int64_t dilation, std::int64_t pad, std::int64_t kernel, std::int64_t input,
                 std::int64_t output) {
  PhaseAxis axis{.stride = stride, .input = input, .output = output, .kernel = kernel};
  std::int64_t first = 0, last = 0;
  const auto offset = [&](std::int64_t r, std::int64_t k) { return r + pad - k * dilation; };
  for (std::int64_t r = 0; r < stride; ++r)
    for (std::int64_t k = 0; k < kernel; ++k)
      if (offset(r, k) % stride == 0) {
        first = std::min(first, floor_divide(offset(r, k), stride));
        last = std::max(last, floor_divide(offset(r, k), stride));
      }
  axis.first = first;
  axis.taps = last - first + 1;
  axis.tap.assign(static_cast<std::size_t>(stride), std::vector<std::int64_t>(static_cast<std::size_t>(axis.taps), -1));
  for (std::int64_t r = 0; r < stride; ++r)
    for (std::int64_t k = 0; k < kernel; ++k)
      if (offset(r, k) % stride == 0)
        axis.tap[static_cast<std::size_t>(r)][static_cast<std::size_t>(floor_divide(offset(r, k), stride) - first)] = k;
  return axis;
}

// Pixels of phases -> picture: src [n, qh, qw, groups, sh * sw, o/groups] -> dst [n, oh, ow, o].
class UnshufflePhasesStep : public Step {
 public:
  struct Shape {
    std::int64_t n, oh, ow, qh, qw, sh, sw, groups, each;
    std::size_t bytes;  // an element
  };
  explicit UnshufflePhasesStep(const Shape& shape) : s_(shape) { info.kernel = "phases_to_picture"; }
  void run(const RunContext& context) const override {
    const auto part = partition(s_.n * s_.oh, context.worker, context.workers, 1);
    const auto run_bytes = static_cast<std::size_t>(s_.each) * s_.bytes;
    for (std::int64_t row = part.begin; row < part.end; ++row) {
      const std::int64_t n = row / s_.oh, y = row % s_.oh;
      for (std::int64_t x = 0; x < s_.ow; ++x) {
        const std::int64_t pixel = (n * s_.qh + y / s_.sh) * s_.qw + x / s_.sw, phase = y % s_.sh * s_.sw + x % s_.sw;
        std::byte* to = context.values[outputs[0]] +
                        static_cast<std::size_t>(row * s_.ow + x) * run_bytes * static_cast<std::size_t>(s_.groups);
        for (std::int64_t g = 0; g < s_.groups; ++g) {
          const std::int64_t from = (pixel * s_.groups + g) * s_.sh * s_.sw + phase;
          std::memcpy(to + static_cast<std::size_t>(g) * run_bytes,
                      context.values[inputs[0]] + static_cast<std::size_t>(from) * run_bytes, run_bytes);
        }
      }
    }
  }

 private:
  Shape s_;
};

// [n, d, pixels, groups, c/groups] -> [n, od, pixels, groups, kd, c/groups]: the depth taps of each output become channels.
class DepthTapsStep : public Step {
 public:
  struct Shape {
    std::int64_t n, d, pixels, groups, each, od, kd, stride, dilation, pad;
    std::uint8_t zero_point;
  };
  explicit DepthTapsStep(const Shape& shape) : s_(shape) {
    info.kernel = "depth_to_channels";
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto* src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    auto* dst = reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]);
    const auto part = partition(s_.n * s_.od, context.worker, context.workers, 1);
    const auto each = static_cast<std::size_t>(s_.each);
    for (std::int64_t slice = part.begin; slice < part.end; ++slice)
      for (std::int64_t pixel = 0; pixel < s_.pixels; ++pixel)
        for (std::int64_t g = 0; g < s_.groups; ++g)
          for (std::int64_t k = 0; k < s_.kd; ++k) {
            const std::int64_t d = slice % s_.od * s_.stride + k * s_.dilation - s_.pad;
            std::uint8_t* to = dst + (((slice * s_.pixels + pixel) * s_.groups + g) * s_.kd + k) * s_.each;
            if (d < 0 || d >= s_.d)
              std::memset(to, s_.zero_point, each);
            else
              std::memcpy(to, src + (((slice / s_.od * s_.d + d) * s_.pixels + pixel) * s_.groups + g) * s_.each, each);
          }
  }

 private:
  Shape s_;
};

std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64 + 128; }  // kernels may read over the edge

// Products of pairs of matrices that both change at run time: the second is packed anew for each.
class IntegerProductStep : public Step {
 public:
  struct Pair {
    std::int64_t a, b;  // offsets in elements
  };
  IntegerProductStep(const kernels::ConvKernel& kernel, const kernels::ConvShape& shape, std::vector<Pair> pairs,
                     std::int32_t b_zero_point, float scale, kernels::ConvArgs args, std::size_t out_bytes)
      : kernel_(kernel),
        shape_(shape),
        pairs_(std::move(pairs)),
        scale_(static_cast<std::size_t>(shape.o), scale),
        zero_points_(static_cast<std::size_t>(shape.o), b_zero_point - 128),
        args_(args),
        out_bytes_(out_bytes) {
    args_.scale = scale_.data();
    info.kernel = kernel.name;
    info.integer = true;
  }
  std::size_t scratch_bytes(int workers) const override { return own_bytes() * static_cast<std::size_t>(workers); }
  void run(const RunContext& context) const override {
    const auto part = partition(static_cast<std::int64_t>(pairs_.size()), context.worker, context.workers, 1);
    std::byte* at = context.scratch + own_bytes() * static_cast<std::size_t>(context.worker);
    const auto take = [&](std::size_t bytes) {
      std::byte* taken = at + 64;
      at += aligned(bytes);
      return taken;
    };
    const std::size_t count = static_cast<std::size_t>(shape_.c * shape_.o);
    auto* flipped = reinterpret_cast<std::int8_t*>(take(count));
    auto* transposed = reinterpret_cast<std::int8_t*>(take(count));
    auto* comp = reinterpret_cast<std::int32_t*>(take(4 * static_cast<std::size_t>(shape_.o)));
    std::byte* packed = take(kernel_.packed_bytes(shape_));
    kernels::ConvArgs args = args_;
    args.packed = packed;
    args.comp = comp;
    args.workspace = take(kernel_.workspace_bytes(shape_, 1));
    std::int64_t held = -1;  // the matrix that lies packed
    for (std::int64_t i = part.begin; i < part.end; ++i) {
      const Pair& pair = pairs_[static_cast<std::size_t>(i)];
      if (pair.b != held) {
        const auto* b = reinterpret_cast<const std::uint8_t*>(context.values[inputs[1]]) + pair.b;
        for (std::size_t e = 0; e < count; ++e) flipped[e] = static_cast<std::int8_t>(b[e] ^ 0x80U);
        kernels::transpose_weights(shape_.c, shape_.o, flipped, transposed);
        kernel_.pack(shape_, transposed, zero_points_.data(), packed);
        // Cannot overflow: the plan bounds K.
        (void)kernels::fold_bias(shape_, transposed, zero_points_.data(), args.src_zero_point, nullptr, comp);
        held = pair.b;
      }
      args.src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]) + pair.a;
      args.dst = context.values[outputs[0]] + static_cast<std::size_t>(i) * out_bytes_;
      kernel_.run(shape_, args, 0, 1);
    }
  }

 private:
  std::size_t own_bytes() const {
    const std::size_t count = static_cast<std::size_t>(shape_.c * shape_.o);
    return 2 * aligned(count) + aligned(4 * static_cast<std::size_t>(shape_.o)) + aligned(kernel_.packed_bytes(shape_)) +
           aligned(kernel_.workspace_bytes(shape_, 1)) + 64;
  }

  const kernels::ConvKernel& kernel_;
  kernels::ConvShape shape_;
  std::vector<Pair> pairs_;
  std::vector<float> scale_;
  std::vector<std::int32_t> zero_points_;
  kernels::ConvArgs args_;
  std::size_t out_bytes_;  // of one product
};

// A function of an 8-bit value that differs by channel: channel-last bytes through a table each.
class ChannelTablesStep : public Step {
 public:
  ChannelTablesStep(std::vector<std::array<std::uint8_t, 256>> tables, std::int64_t pixels)
      : tables_(std::move(tables)), pixels_(pixels) {
    info.kernel = "tables_u8";
    info.integer = true;
  }
  void run(const RunContext& context) const override {
    const auto part = partition(pixels_, context.worker, context.workers, 64);
    const std::size_t channels = tables_.size();
    const auto* src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]);
    auto* dst = reinterpret_cast<std::uint8_t*>(context.values[outputs[0]]);
    for (std::size_t i = static_cast<std::size_t>(part.begin) * channels; i < static_cast<std::size_t>(part.end) * channels;
         i += channels)
      for (std::size_t c = 0; c < channels; ++c) dst[i + c] = tables_[c][src[i + c]];
  }

 private:
  std::vector<std::array<std::uint8_t, 256>> tables_;
  std::int64_t pixels_;
};

}  // namespace

// The weights of one phase after the other as the channels of a plain convolution, then the phases side by side.
bool Lowering::conv_transpose(const Node& node) {
  const auto quantized = constants_.find(node.input(1));
  const auto lazy = lazy_.find(node.input(0));
  if (quantized == constants_.end() || lazy == lazy_.end() || !lazy->second.affine) {
    reason_ = "no fast kernel for this operator in float";
    return false;
  }
  const QuantizedConstant& constant = quantized->second;
  const Dims &w = constant.values.dims(), x = dims_of(node.input(0)), y = dims_of(node.outputs[0]);
  const std::int64_t groups = node.get_int("group", 1);
  if (x.size() < 3 || x.size() > 4 || w.size() != x.size() || element_count(y) == 0 || element_count(x) == 0 ||
      element_count(w) == 0) {
    reason_ = "only one and two spatial dimensions have integer kernels";
    return false;
  }
  if (constant.values.dtype() != DType::s8 && constant.values.dtype() != DType::u8) {
    reason_ = fmt::format("weights are {}, only 8 bits have integer kernels", name(constant.values.dtype()));
    return false;
  }
  const std::size_t spatial = x.size() - 2;
  const auto strides = node.get_ints("strides", Dims(spatial, 1)), dilations = node.get_ints("dilations", Dims(spatial, 1));
  const auto pads = node.get_ints("pads", Dims(2 * spatial, 0)), extra = node.get_ints("output_padding", Dims(spatial, 0));
  const std::string auto_pad = node.get_string("auto_pad", "NOTSET");
  const bool by_output = auto_pad.starts_with("SAME") || node.find("output_shape") != nullptr;
  std::vector<PhaseAxis> axes(2 - spatial, phases(1, 1, 0, 1, 1, 1));
  for (std::size_t i = 0; i < spatial; ++i) {
    std::int64_t pad = auto_pad == "VALID" ? 0 : pads[i];
    if (by_output) {  // as the operator's text derives padding from the output
      const std::int64_t full = (x[i + 2] - 1) * strides[i] + extra[i] + (w[i + 2] - 1) * dilations[i] + 1;
      const std::int64_t total = std::max<std::int64_t>(0, full - y[i + 2]);
      pad = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
    }
    axes.push_back(phases(strides[i], dilations[i], pad, w[i + 2], x[i + 2], y[i + 2]));
  }
  const PhaseAxis &v = axes[0], &h = axes[1];
  const std::int64_t c = w[0], each = w[1], o = each * groups, per_group = c / groups, count = v.stride * h.stride;

  // The scale of output channel g * each + j: along axis 1 all groups share the j-th; along axis 0 only one of each is known.
  const auto entries = static_cast<std::int64_t>(constant.scale.size());
  if (entries > 1 && !(constant.axis == 1 && entries == each) && !(constant.axis == 0 && each == 1 && per_group == 1)) {
    reason_ = fmt::format("weights are quantized along axis {}, the integer kernels need axis 1", constant.axis);
    return false;
  }
  const auto entry = [&](std::int64_t channel) {
    return static_cast<std::size_t>(entries == 1 ? 0 : (constant.axis == 1 ? channel % each : channel));
  };
  // [o * phases, c/groups, v.taps, h.taps]; absent taps hold the zero point.
  QuantizedConstant plain{.values = Tensor(constant.values.dtype(), {o * count, per_group, v.taps, h.taps}),
                          .name = constant.name};
  plain.scale.resize(static_cast<std::size_t>(o * count));
  plain.zero_point.resize(plain.scale.size());
  std::vector<float> channel_scale(static_cast<std::size_t>(o));
  const auto from = constant.values.bytes();
  const auto to = plain.values.mutable_bytes();
  std::size_t at = 0, row = 0;
  for (std::int64_t g = 0; g < groups; ++g)
    for (std::int64_t phase = 0; phase < count; ++phase)
      for (std::int64_t j = 0; j < each; ++j, ++row) {
        const std::size_t p = entry(g * each + j);
        plain.scale[row] = channel_scale[static_cast<std::size_t>(g * each + j)] = constant.scale[p];
        plain.zero_point[row] = constant.zero_point[p];
        for (std::int64_t i = 0; i < per_group; ++i)
          for (std::int64_t a = 0; a < v.taps; ++a)
            for (std::int64_t b = 0; b < h.taps; ++b) {
              const std::int64_t kv = v.tap[static_cast<std::size_t>(phase / h.stride)][static_cast<std::size_t>(a)];
              const std::int64_t kh = h.tap[static_cast<std::size_t>(phase % h.stride)][static_cast<std::size_t>(b)];
              to[at++] =
                  kv < 0 || kh < 0
                      ? static_cast<std::byte>(constant.zero_point[p] & 0xFF)
                      : from[static_cast<std::size_t>((((g * per_group + i) * each + j) * v.kernel + kv) * h.kernel + kh)];
            }
      }

  const Lazy source = lazy->second;
  const auto weights = integer_weights(plain, o * count, 0, false, reason_);
  if (!weights) return false;
  const auto bias = integer_bias(node.input(2), source.affine->scale, channel_scale);
  if (!bias) {
    reason_ = "the bias is not constant or does not fit 32 bits";
    return false;
  }
  std::vector<std::int64_t> phase_bias;
  if (!bias->empty())
    for (std::int64_t g = 0; g < groups; ++g)
      for (std::int64_t phase = 0; phase < count; ++phase)
        for (std::int64_t j = 0; j < each; ++j) phase_bias.push_back((*bias)[static_cast<std::size_t>(g * each + j)]);

  Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = "ConvTranspose"};
  kernels::ConvShape& s = linear.shape;
  s.n = x[0];
  s.h = v.input;
  s.w = h.input;
  s.c = s.src_stride = c;
  s.o = s.dst_stride = o * count;
  s.oh = (v.output + v.stride - 1) / v.stride;
  s.ow = (h.output + h.stride - 1) / h.stride;
  s.kh = v.taps;
  s.kw = h.taps;
  s.pad_top = -v.first;
  s.pad_left = -h.first;
  s.groups = groups;
  linear.out_layout = Layout::channel_last;
  linear.macs = element_count(x) * each * v.kernel * h.kernel;
  const Tail tail = absorb_tail(node.outputs[0]);
  if (count == 1) {
    linear.out_dims = y;
    return integer_linear(linear, source.quantized, *source.affine, *weights, phase_bias, tail, DType::f32, reason_);
  }
  linear.out_dims = spatial == 2 ? Dims{x[0], s.o, s.oh, s.ow} : Dims{x[0], s.o, s.ow};
  Tail inner{.value = fresh(node.outputs[0]),
             .low = tail.low,
             .high = tail.high,
             .quantizer = tail.quantizer,
             .operators = tail.operators};
  inner.same = {inner.value};
  if (!integer_linear(linear, source.quantized, *source.affine, *weights, phase_bias, inner, DType::f32, reason_)) return false;
  const DType dtype = tail.quantizer ? tail.quantizer->dtype : DType::f32;
  const bool flipped = dtype == DType::s8;
  const ValueId pixels = fetch(inner.value, Layout::channel_last, flipped);
  const ValueId out = define(tail.quantizer ? tail.same.front() : tail.value, dtype, y, Layout::channel_last, flipped);
  auto step = std::make_unique<UnshufflePhasesStep>(
      UnshufflePhasesStep::Shape{.n = x[0],
                                 .oh = v.output,
                                 .ow = h.output,
                                 .qh = s.oh,
                                 .qw = s.ow,
                                 .sh = v.stride,
                                 .sw = h.stride,
                                 .groups = groups,
                                 .each = each,
                                 .bytes = static_cast<std::size_t>(element_bytes(dtype))});
  step->info.integer = true;
  step->info.name = linear.name;
  emit(std::move(step), "ConvTranspose: phases", {pixels}, {out});
  finish_tail(tail);
  return true;
}

bool Lowering::convolution_3d(const Node& node) {
  const auto quantized = constants_.find(node.input(1));
  const auto lazy = lazy_.find(node.input(0));
  if (quantized == constants_.end() || lazy == lazy_.end() || !lazy->second.affine) {
    reason_ = "three spatial dimensions have fast kernels for integers alone";
    return false;
  }
  const QuantizedConstant& constant = quantized->second;
  const Dims &w = constant.values.dims(), x = dims_of(node.input(0)), y = dims_of(node.outputs[0]);
  if (x.size() != 5 || w.size() != 5 || y.size() != 5 || element_count(y) == 0 || element_count(x) == 0 ||
      element_count(w) == 0 || node.get_string("auto_pad", "NOTSET").starts_with("SAME") ||
      (constant.values.dtype() != DType::s8 && constant.values.dtype() != DType::u8))
    return false;
  const std::int64_t groups = node.get_int("group", 1), o = w[0], each = w[1], kd = w[2];
  const auto strides = node.get_ints("strides", Dims(3, 1)), dilations = node.get_ints("dilations", Dims(3, 1));
  auto pads = node.get_ints("pads", Dims(6, 0));
  if (node.get_string("auto_pad", "NOTSET") == "VALID") pads.assign(6, 0);

  // [o, c/groups, kd, kh, kw] -> [o, kd * c/groups, kh, kw]
  QuantizedConstant plain = constant;
  plain.values = Tensor(constant.values.dtype(), {o, kd * each, w[3], w[4]});
  const std::int64_t taps = w[3] * w[4];
  for (std::int64_t i = 0; i < o; ++i)
    for (std::int64_t c = 0; c < each; ++c)
      for (std::int64_t k = 0; k < kd; ++k)
        std::memcpy(plain.values.mutable_bytes().data() + ((i * kd + k) * each + c) * taps,
                    constant.values.bytes().data() + ((i * each + c) * kd + k) * taps, static_cast<std::size_t>(taps));
  const Lazy source = lazy->second;
  const auto weights = integer_weights(plain, o, 0, false, reason_);
  if (!weights) return false;
  const auto bias = integer_bias(node.input(2), source.affine->scale, weights->scale);
  if (!bias) {
    reason_ = "the bias is not constant or does not fit 32 bits";
    return false;
  }
  Linear linear{.name = node.name.empty() ? node.outputs[0] : node.name, .op = "Conv"};
  kernels::ConvShape& s = linear.shape;
  s.n = x[0] * y[2];
  s.h = x[3];
  s.w = x[4];
  s.c = s.src_stride = x[1] * kd;
  s.o = s.dst_stride = o;
  s.oh = y[3];
  s.ow = y[4];
  s.kh = w[3];
  s.kw = w[4];
  s.stride_h = strides[1];
  s.stride_w = strides[2];
  s.dilation_h = dilations[1];
  s.dilation_w = dilations[2];
  s.pad_top = pads[1];
  s.pad_left = pads[2];
  s.groups = groups;
  linear.out_dims = y;
  linear.out_layout = Layout::channel_last;
  linear.macs = element_count(y) * each * kd * taps;

  const bool flipped = source.affine->dtype == DType::s8;
  const ValueId from = fetch(source.quantized, Layout::channel_last, flipped);
  const std::string spread = fresh(source.quantized);
  const ValueId to = define(spread, source.affine->dtype, {s.n, s.c, s.h, s.w}, Layout::channel_last, flipped);
  emit(
      std::make_unique<DepthTapsStep>(DepthTapsStep::Shape{.n = x[0],
                                                           .d = x[2],
                                                           .pixels = x[3] * x[4],
                                                           .groups = groups,
                                                           .each = each,
                                                           .od = y[2],
                                                           .kd = kd,
                                                           .stride = strides[0],
                                                           .dilation = dilations[0],
                                                           .pad = pads[0],
                                                           .zero_point = static_cast<std::uint8_t>(source.affine->zero_point)}),
      "Conv: depth", {from}, {to});
  return integer_linear(linear, spread, *source.affine, *weights, *bias, absorb_tail(node.outputs[0]), DType::f32, reason_);
}

bool Lowering::integer_product(const Node& node) {
  const auto a_lazy = lazy_.find(node.input(0));
  if (node.op_type != "MatMul" || a_lazy == lazy_.end() || !a_lazy->second.affine) return false;
  std::string b_name;
  std::optional<Quantizer> b_quantizer;
  if (const auto b_lazy = lazy_.find(node.input(1)); b_lazy != lazy_.end()) {
    b_name = b_lazy->second.quantized;
    b_quantizer = b_lazy->second.affine;
  } else if (const auto constant = constants_.find(node.input(1)); constant != constants_.end()) {
    const QuantizedConstant& b = constant->second;
    if (b.scale.size() != 1 || b.values.dtype() == DType::s32) {
      reason_ = "a constant of more than two dimensions has integer kernels with one scale only";
      return false;
    }
    b_name = b.name;
    b_quantizer = Quantizer{.scale = b.scale[0],
                            .zero_point = b.zero_point[0] + (b.values.dtype() == DType::s8 ? 128 : 0),
                            .dtype = b.values.dtype()};
  }
  if (!b_quantizer) return false;
  const Quantizer x = *a_lazy->second.affine, w = *b_quantizer;
  const std::string a_name = a_lazy->second.quantized;
  const Dims a = dims_of(node.input(0)), b = dims_of(node.input(1)), y = dims_of(node.outputs[0]);
  if (a.size() < 2 || b.size() < 2 || element_count(y) == 0 || element_count(a) == 0) return false;
  kernels::ConvShape s;
  s.w = s.ow = a[a.size() - 2];
  s.c = s.src_stride = a.back();
  s.o = s.dst_stride = b.back();
  constexpr std::int64_t kMostProducts = 16000;  // 255 * 255 * K, four times, stays below 2^32
  if (s.c > kMostProducts) {
    reason_ = fmt::format("sums of {} products could overflow 32 bits", s.c);
    return false;
  }
  // Which matrices meet: the leading dimensions broadcast.
  const std::size_t lead = y.size() - 2;
  std::vector<IntegerProductStep::Pair> pairs;
  const std::int64_t products = element_count(std::span(y).first(lead));
  for (std::int64_t i = 0; i < products; ++i) {
    IntegerProductStep::Pair pair{0, 0};
    std::int64_t rest = i, a_step = s.w * s.c, b_step = s.c * s.o;
    for (std::size_t axis = lead; axis-- > 0;) {
      const std::int64_t at = rest % y[axis];
      rest /= y[axis];
      const auto advance = [&](const Dims& dims, std::int64_t& offset, std::int64_t& step) {
        const std::size_t missing = y.size() - dims.size();
        if (axis < missing) return;
        if (dims[axis - missing] != 1) offset += at * step;
        step *= dims[axis - missing];
      };
      advance(a, pair.a, a_step);
      advance(b, pair.b, b_step);
    }
    pairs.push_back(pair);
  }
  const Tail tail = absorb_tail(node.outputs[0]);
  kernels::ConvArgs args;
  args.src_zero_point = x.zero_point;
  float scale = x.scale * w.scale;
  if (tail.quantizer) {
    const Quantizer& q = *tail.quantizer;
    args.output = kernels::ConvOutput::u8;
    args.dst_zero_point = q.zero_point;
    const auto limit = [&](float bound) {
      return static_cast<float>(numerics::quantize(bound, q.scale, q.zero_point, {0, 255}) - q.zero_point);
    };
    args.low = limit(tail.low);
    args.high = limit(tail.high);
    scale = numerics::requantize_scale(x.scale, w.scale, q.scale);
  } else {
    args.output = kernels::ConvOutput::f32;
    args.low = tail.low;
    args.high = tail.high;
  }
  if (!std::isfinite(scale)) {
    reason_ = "a requantization scale is not finite";
    return false;
  }
  const ValueId left = fetch(a_name, Layout::row_major, x.dtype == DType::s8);
  const ValueId right = fetch(b_name, Layout::row_major, w.dtype == DType::s8);
  const DType dtype = tail.quantizer ? tail.quantizer->dtype : DType::f32;
  const ValueId out = define(tail.quantizer ? tail.same.front() : tail.value, dtype, y, Layout::row_major, dtype == DType::s8);
  const kernels::ConvKernel* kernel = kernels::select_conv_q8(s, options_.isas);
  auto step = std::make_unique<IntegerProductStep>(*kernel, s, std::move(pairs), w.zero_point, scale, args,
                                                   static_cast<std::size_t>(s.w * s.o * element_bytes(dtype)));
  step->info.macs = element_count(y) * s.c;
  emit(std::move(step), "MatMul" + tail.operators + (tail.quantizer ? "+QuantizeLinear" : ""), {left, right}, {out});
  finish_tail(tail);
  return true;
}

bool Lowering::channel_prelu(const Node& node) {
  const auto lazy = lazy_.find(node.input(0));
  const Tensor* slope = constant_of(node.input(1));
  if (lazy == lazy_.end() || slope == nullptr || slope->dtype() != DType::f32) return false;
  const Dims dims = dims_of(node.input(0));
  // One slope a channel: [C,1,...] as it broadcasts against [N,C,...].
  if (dims.size() < 3 || slope->rank() != dims.size() - 1 || slope->dim(0) != dims[1] || slope->size() != dims[1]) return false;
  const Tail tail = absorb_tail(node.outputs[0]);
  if (!tail.quantizer) return false;
  const Lazy source = lazy->second;
  std::vector<std::array<std::uint8_t, 256>> tables;
  const Tensor values = Tensor::of<float>({256}, std::span<const float>(source.table));
  for (const float each : slope->values<float>()) {
    const std::vector<Tensor> in = {values, Tensor::scalar(each)};
    const Tensor out = ops::evaluate(graph_, node, in).front();
    std::array<std::uint8_t, 256> table{};
    for (std::size_t q = 0; q < 256; ++q) {
      float real = out.values<float>()[q];
      real = real > tail.low ? (real < tail.high ? real : tail.high) : tail.low;
      table[q] =
          static_cast<std::uint8_t>(numerics::quantize(real, tail.quantizer->scale, tail.quantizer->zero_point, {0, 255}));
    }
    tables.push_back(table);
  }
  const bool flipped = tail.quantizer->dtype == DType::s8;
  const ValueId from = fetch(source.quantized, Layout::channel_last, source.dtype == DType::s8);
  const ValueId to = define(tail.same.front(), tail.quantizer->dtype, dims, Layout::channel_last, flipped);
  const auto channels = static_cast<std::int64_t>(tables.size());
  emit(std::make_unique<ChannelTablesStep>(std::move(tables), element_count(dims) / channels),
       "PRelu" + tail.operators + "+QuantizeLinear", {from}, {to});
  finish_tail(tail);
  return true;
}

}  // namespace zeropoint::engine
