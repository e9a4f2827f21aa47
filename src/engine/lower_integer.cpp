// Integer operators that run on the kernels of 2-d convolution in another shape: ConvTranspose and convolutions over three
// dimensions; and PRelu with a slope a channel.
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
  const std::optional<Operand> operand = operand_of(node.input(0));
  if (quantized == constants_.end() || !operand) {
    reason_ = "no fast kernel for this operator in float";
    return false;
  }
  const QuantizedConstant& constant = quantized->second;
  const Dims &w = constant.values.dims(), x = dims_of(operand->quantized), y = dims_of(node.outputs[0]);
  const std::int64_t groups = node.get_int("group", 1);
  if (x.size() < 3 || x.size() > 4 || w.size() != x.size() || element_count(y) == 0 || element_count(x) == 0 ||
      element_count(w) == 0) {
    reason_ = "only one and two spatial dimensions have integer kernels";
    return false;
  }
  const auto width = static_cast<std::size_t>(element_bytes(constant.values.dtype()));
  if (width > 2) {
    reason_ = fmt::format("weights are {}, only 8 and 16 bits have integer kernels", name(constant.values.dtype()));
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
              const std::int64_t tap = (((g * per_group + i) * each + j) * v.kernel + kv) * h.kernel + kh;
              std::memcpy(to.data() + at,
                          kv < 0 || kh < 0 ? reinterpret_cast<const std::byte*>(&constant.zero_point[p])  // its low bytes
                                           : from.data() + static_cast<std::size_t>(tap) * width,
                          width);
              at += width;
            }
      }

  const auto weights = byte_weights(plain, o * count, 0, false);
  if (weights.empty()) return false;
  const auto bias = integer_bias(node.input(2), operand->quantizer.scale, channel_scale);
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
  const Tail tail = absorb_tail(node.outputs[0], true, true);
  const auto sums = [&](const Tail& behind) {
    return is_wide(node, tail) ? wide_sums(linear, *operand, weights, phase_bias, behind)
                               : integer_linear(linear, operand->quantized, operand->quantizer, weights.front(), phase_bias,
                                                behind, DType::f32, reason_);
  };
  if (count == 1) {
    linear.out_dims = y;
    return sums(tail);
  }
  linear.out_dims = spatial == 2 ? Dims{x[0], s.o, s.oh, s.ow} : Dims{x[0], s.o, s.ow};
  Tail inner{.value = fresh(node.outputs[0]),
             .low = tail.low,
             .high = tail.high,
             .quantizer = tail.quantizer,
             .operators = tail.operators};
  inner.same = {inner.value};
  if (!sums(inner)) return false;
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
          static_cast<std::uint8_t>(numerics::quantize(real, tail.quantizer->scale, tail.quantizer->zero_point, tail.quantizer->limits));
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
