// Products of two 8-bit operands that are both made at run time, MatMul between Q/DQ, QLinearMatMul and MatMulInteger: exact
// integer sums, the second operand packed on the way.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "engine/lowering.h"
#include "kernels/conv_q8/conv_q8.h"
#include "numerics/quantize.h"

namespace zeropoint::engine {
namespace {

// With a constant operand fold_bias looks at each channel. Of two computed ones it cannot know: 33,025 products of the widest
// values, 255 * 255, are what s32 holds for certain.
constexpr std::int64_t kMostTerms = 2147483647 / (255 * 255);

std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64 + 128; }  // kernels may read over the edge

class IntegerProductStep : public Step {
 public:
  IntegerProductStep(const kernels::ConvKernel& kernel, const kernels::ConvShape& shape,
                     std::vector<std::array<std::int64_t, 2>> pairs, std::int32_t b_zero_point, float scale,
                     const kernels::ConvArgs& args)
      : kernel_(kernel),
        shape_(shape),
        pairs_(std::move(pairs)),
        scale_(static_cast<std::size_t>(shape.o), scale),
        zero_point_(b_zero_point - 128),
        args_(args) {
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
    const std::size_t out_bytes =
        static_cast<std::size_t>(shape_.w * shape_.o) * (args_.output == kernels::ConvOutput::u8 ? 1 : 4);
    auto* comp = reinterpret_cast<std::int32_t*>(take(comp_bytes()));
    std::byte* packed = take(kernel_.packed_bytes(shape_));
    kernels::ConvArgs args = args_;
    args.packed = packed;
    args.comp = comp;
    args.workspace = take(kernel_.workspace_bytes(shape_, 1));
    std::int64_t held = -1;  // the matrix that lies packed
    for (std::int64_t i = part.begin; i < part.end; ++i) {
      const auto [a, b] = pairs_[static_cast<std::size_t>(i)];
      if (b != held) {
        const auto* matrix = reinterpret_cast<const std::uint8_t*>(context.values[inputs[1]]) + b;
        kernel_.pack_matrix(shape_, matrix, zero_point_, comp, packed);
        for (std::int64_t o = 0; o < shape_.o; ++o)  // cannot overflow: kMostTerms
          comp[o] = -args.src_zero_point * (comp[o] - static_cast<std::int32_t>(shape_.c) * zero_point_);
        held = b;
      }
      args.src = reinterpret_cast<const std::uint8_t*>(context.values[inputs[0]]) + a;
      args.dst = context.values[outputs[0]] + static_cast<std::size_t>(i) * out_bytes;
      kernel_.run(shape_, args, 0, 1);
    }
  }

 private:
  std::size_t comp_bytes() const { return 4 * ((static_cast<std::size_t>(shape_.o) + 31) / 32 * 32); }
  std::size_t own_bytes() const {
    return aligned(comp_bytes()) + aligned(kernel_.packed_bytes(shape_)) + aligned(kernel_.workspace_bytes(shape_, 1)) + 64;
  }

  const kernels::ConvKernel& kernel_;
  kernels::ConvShape shape_;
  std::vector<std::array<std::int64_t, 2>> pairs_;
  std::vector<float> scale_;
  std::int32_t zero_point_;  // of the s8 form
  kernels::ConvArgs args_;
};

}  // namespace

// Which matrices meet: the leading dimensions broadcast.
std::optional<Lowering::MatrixPairs> Lowering::matrix_pairs(const Dims& a, const Dims& b, const Dims& y) {
  if (a.size() < 2 || b.size() < 2 || element_count(y) == 0) {
    reason_ = "an operand is a vector";
    return std::nullopt;
  }
  MatrixPairs result;
  kernels::ConvShape& s = result.shape;
  s.w = s.ow = a[a.size() - 2];
  s.c = s.src_stride = a.back();
  s.o = s.dst_stride = b.back();
  if (b[b.size() - 2] != s.c || s.c == 0) return std::nullopt;
  if (s.c > kMostTerms) {
    reason_ = fmt::format("sums of {} products could overflow 32 bits", s.c);
    return std::nullopt;
  }
  const std::size_t lead = y.size() - 2;
  const std::int64_t products = element_count(std::span(y).first(lead));
  for (std::int64_t i = 0; i < products; ++i) {
    std::array<std::int64_t, 2> offsets{0, 0};
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
      advance(a, offsets[0], a_step);
      advance(b, offsets[1], b_step);
    }
    result.offsets.push_back(offsets);
  }
  // Many matrices times one matrix are one product of all their rows.
  if (element_count(b) == s.c * s.o && element_count(a) == products * s.w * s.c) {
    s.w = s.ow = s.w * products;
    result.offsets.resize(1);
  }
  return result;
}

Step& Lowering::emit_matrix_product(const MatrixPairs& pairs, std::array<ValueId, 2> operands, std::int32_t b_zero_point,
                                    float scale, const kernels::ConvArgs& args, std::string op, ValueId out) {
  const kernels::ConvKernel* kernel = &conv_kernel(pairs.shape, "");
  if (kernel->pack_matrix == nullptr) kernel = &kernels::conv_q8_kernels().back();  // 1 x 1: a depthwise convolution takes it
  return emit(std::make_unique<IntegerProductStep>(*kernel, pairs.shape, pairs.offsets, b_zero_point, scale, args),
              std::move(op), {operands[0], operands[1]}, {out});
}

bool Lowering::integer_product(const Node& node, const std::string& a, const Quantizer& a_quantizer, const std::string& b,
                               const Quantizer& b_quantizer, const Tail& tail, DType output_dtype) {
  const Dims out_dims = dims_of(node.outputs[0]);
  const auto pairs = matrix_pairs(dims_of(a), dims_of(b), out_dims);
  if (!pairs) return false;
  kernels::ConvArgs args;
  args.src_zero_point = a_quantizer.zero_point;
  float scale = a_quantizer.scale * b_quantizer.scale;
  if (tail.quantizer) {
    const Quantizer& y = *tail.quantizer;
    const auto limit = [&](float bound) {
      return static_cast<float>(numerics::quantize(bound, y.scale, y.zero_point, y.limits) - y.zero_point);
    };
    args.output = kernels::ConvOutput::u8;
    args.dst_zero_point = y.zero_point;
    args.low = limit(tail.low);
    args.high = limit(tail.high);
    scale = numerics::requantize_scale(a_quantizer.scale, b_quantizer.scale, y.scale);
  } else if (output_dtype == DType::f32) {
    args.output = kernels::ConvOutput::f32;
    args.low = tail.low;
    args.high = tail.high;
  } else {
    args.output = kernels::ConvOutput::s32;
  }
  if (!std::isfinite(scale)) {
    reason_ = "a requantization scale is not finite";
    return false;
  }
  const ValueId x = fetch(a, Layout::row_major, a_quantizer.dtype == DType::s8);
  const ValueId w = fetch(b, Layout::row_major, b_quantizer.dtype == DType::s8);
  const DType dtype = tail.quantizer ? tail.quantizer->dtype : output_dtype;
  const ValueId out =
      define(tail.quantizer ? tail.same.front() : tail.value, dtype, out_dims, Layout::row_major, dtype == DType::s8);
  const bool quantizes = tail.quantizer && !node.op_type.starts_with("Q");
  emit_matrix_product(*pairs, {x, w}, b_quantizer.zero_point, scale, args,
                      node.op_type + tail.operators + (quantizes ? "+QuantizeLinear" : ""), out)
      .info.macs = element_count(out_dims) * dims_of(a).back();
  finish_tail(tail);
  return true;
}

// MatMul between Q/DQ.
bool Lowering::integer_product(const Node& node) {
  const auto a = lazy_.find(node.input(0));
  if (node.op_type != "MatMul" || a == lazy_.end() || !a->second.affine) return false;
  std::string b_name;
  std::optional<Quantizer> b_quantizer;
  if (const auto b = lazy_.find(node.input(1)); b != lazy_.end()) {
    b_name = b->second.quantized;
    b_quantizer = b->second.affine;
  } else if (const auto constant = constants_.find(node.input(1)); constant != constants_.end()) {
    const QuantizedConstant& stored = constant->second;
    const DType dtype = stored.values.dtype();
    if (stored.scale.size() != 1 || (dtype != DType::s8 && dtype != DType::u8)) {
      reason_ = "a constant of more than two dimensions has integer kernels with 8 bits and one scale only";
      return false;
    }
    b_name = stored.name;
    b_quantizer = Quantizer{
        .scale = stored.scale[0], .zero_point = stored.zero_point[0] + (dtype == DType::s8 ? 128 : 0), .dtype = dtype};
  }
  if (!b_quantizer) return false;
  // Stricter than kMostTerms: each of the four sums of (x - zx)(w - zw), expanded, fits 32 bits by itself.
  constexpr std::int64_t kMostProducts = 16000;
  if (dims_of(node.input(0)).back() > kMostProducts) {
    reason_ = fmt::format("sums of {} products could overflow 32 bits", dims_of(node.input(0)).back());
    return false;
  }
  const Lazy source = a->second;
  return integer_product(node, source.quantized, *source.affine, b_name, *b_quantizer, absorb_tail(node.outputs[0]),
                         DType::f32);
}

}  // namespace zeropoint::engine
