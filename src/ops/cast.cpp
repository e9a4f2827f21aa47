// Cast and CastLike. Float to integer cuts towards zero and saturates (NaN gives 0); integers that don't fit keep their low
// bits, as all do below 8 bits; anything to bool is x != 0; to 16-bit and smaller floats rounds once.
#include <limits>
#include <type_traits>

#include "ir/float8.h"
#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

std::vector<TensorType> cast_shape(const ShapeArgs& args) {
  if (args.node.find("to") == nullptr) fail(ErrorCode::kBadAttribute, args.node, "to is missing");
  const std::int64_t code = args.node.get_int("to", 0);
  const DType dtype = dtype_of_code(args.node, code);  // opaque: it stays in the graph, but does not run
  return {{dtype, args.inputs[0].shape}};
}

std::vector<TensorType> cast_like_shape(const ShapeArgs& args) { return {{args.inputs[1].dtype, args.inputs[0].shape}}; }

// Attributes that concern 8-bit floats alone.
struct Float8Options {
  bool saturate;
  numerics::Float8Rounding rounding;  // of f8e8m0

  explicit Float8Options(const Node& node) : saturate(node.get_int("saturate", 1) != 0) {
    const std::string mode = node.get_string("round_mode", "up");
    if (mode != "up" && mode != "down" && mode != "nearest")
      fail(ErrorCode::kBadAttribute, node, "round_mode is '" + mode + "'");
    rounding = mode == "up"     ? numerics::Float8Rounding::kUp
               : mode == "down" ? numerics::Float8Rounding::kDown
                                : numerics::Float8Rounding::kNearest;
  }
};

template <class From>
Tensor cast_from(const Node& node, std::span<const From> src, const Dims& dims, DType to) {
  Tensor y(to, dims);
  const auto fill = [&]<class To>(To) {
    const auto dst = y.mutable_values<To>();
    for (std::size_t i = 0; i < src.size(); ++i) dst[i] = converted<To, From>(src[i]);
  };
  if (to == DType::f16 || to == DType::bf16) {
    const auto dst = mutable_words<std::uint16_t>(y);
    for (std::size_t i = 0; i < src.size(); ++i)
      dst[i] =
          to == DType::f16 ? numerics::to_f16(static_cast<double>(src[i])) : numerics::to_bf16(static_cast<double>(src[i]));
  } else if (is_float8(to)) {
    const Float8Options options(node);
    Tensor bytes(DType::u8, dims);
    const auto dst = mutable_words<std::uint8_t>(bits(to) < 8 ? bytes : y);
    for (std::size_t i = 0; i < src.size(); ++i)
      dst[i] = encode_float8(to, static_cast<double>(src[i]), options.saturate, options.rounding);
    if (bits(to) < 8) y = packed(bytes, to);
  } else if (to == DType::b8) {
    fill(bool{});
  } else if (bits(to) > 0 && bits(to) < 8) {
    Tensor bytes(lowest(to) < 0 ? DType::s8 : DType::u8, dims);
    const auto dst = mutable_words<std::uint8_t>(bytes);
    for (std::size_t i = 0; i < src.size(); ++i) {
      dst[i] = static_cast<std::uint8_t>(converted<std::int64_t, From>(src[i]));
    }
    y = packed(bytes, to);
  } else {
    with_numbers(node, to, fill);
  }
  return y;
}

std::vector<Tensor> cast(const ComputeArgs& args) {
  const DType to = args.outputs[0].dtype, from = args.inputs[0].dtype();
  if (from == DType::opaque || to == DType::opaque)
    fail(ErrorCode::kUnsupported, args.node, "strings and types newer than this version do not run");
  if (from == to) return one(args.inputs[0]);
  const Tensor x = is_float8(from) ? float8_to_f32(args.inputs[0]) : widened(unpacked(args.inputs[0]));
  if (x.dtype() == DType::b8) return one(cast_from<bool>(args.node, x.values<bool>(), x.dims(), to));
  Tensor y;
  with_numbers(args.node, x.dtype(), [&]<class T>(T) { y = cast_from<T>(args.node, x.values<T>(), x.dims(), to); });
  return one(std::move(y));
}

}  // namespace

std::vector<Operator> cast_operators() {
  return {
      {.op_type = "Cast", .since = 6, .shape = cast_shape, .reference = cast},
      {.op_type = "CastLike", .since = 15, .min_inputs = 2, .max_inputs = 2, .shape = cast_like_shape, .reference = cast},
  };
}

}  // namespace zeropoint::ops
