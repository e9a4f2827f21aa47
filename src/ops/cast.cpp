// Cast and CastLike. Float to integer cuts towards zero and saturates (NaN gives 0); integers that don't fit keep their low
// bits, as all do below 8 bits; anything to bool is x != 0; to 16-bit floats rounds once.
#include <limits>
#include <type_traits>

#include "ops/families.h"
#include "ops/rules.h"

namespace zeropoint::ops {
namespace {

DType onnx_dtype(const Node& node, std::int64_t code) {  // TensorProto.DataType
  switch (code) {
    case 1:
      return DType::f32;
    case 2:
      return DType::u8;
    case 3:
      return DType::s8;
    case 4:
      return DType::u16;
    case 5:
      return DType::s16;
    case 6:
      return DType::s32;
    case 7:
      return DType::s64;
    case 9:
      return DType::b8;
    case 10:
      return DType::f16;
    case 11:
      return DType::f64;
    case 12:
      return DType::u32;
    case 13:
      return DType::u64;
    case 16:
      return DType::bf16;
    case 21:
      return DType::u4;
    case 22:
      return DType::s4;
    case 25:
      return DType::u2;
    case 26:
      return DType::s2;
    default:
      fail(ErrorCode::kUnsupported, node, "element type " + std::to_string(code) + " of ONNX does not run");
  }
}

std::vector<TensorType> cast_shape(const ShapeArgs& args) {
  if (args.node.find("to") == nullptr) fail(ErrorCode::kBadAttribute, args.node, "to is missing");
  const std::int64_t code = args.node.get_int("to", 0);
  // Strings and 8-bit floats pass through as what zeropoint does not read.
  if (code == 8 || (code >= 17 && code <= 20) || code == 23 || code == 24) return {{DType::opaque, args.inputs[0].shape}};
  return {{onnx_dtype(args.node, code), args.inputs[0].shape}};
}

std::vector<TensorType> cast_like_shape(const ShapeArgs& args) { return {{args.inputs[1].dtype, args.inputs[0].shape}}; }

template <class To, class From>
To convert(From value) {
  if constexpr (std::is_same_v<To, bool>) {
    return value != From{};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (value != value) return 0;
    // 2^63 and the like are exact in both float types, the largest integers are not.
    constexpr From kAbove = static_cast<From>(std::numeric_limits<To>::max() / 2 + 1) * 2;
    if (value >= kAbove) return std::numeric_limits<To>::max();
    if (value < static_cast<From>(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
    return static_cast<To>(value);
  } else {
    return static_cast<To>(value);
  }
}

template <class From>
Tensor cast_from(const Node& node, std::span<const From> src, const Dims& dims, DType to) {
  Tensor y(to, dims);
  const auto fill = [&]<class To>(To) {
    const auto dst = y.mutable_values<To>();
    for (std::size_t i = 0; i < src.size(); ++i) dst[i] = convert<To, From>(src[i]);
  };
  if (to == DType::f16 || to == DType::bf16) {
    const auto dst = mutable_words<std::uint16_t>(y);
    for (std::size_t i = 0; i < src.size(); ++i)
      dst[i] =
          to == DType::f16 ? numerics::to_f16(static_cast<double>(src[i])) : numerics::to_bf16(static_cast<double>(src[i]));
  } else if (to == DType::b8) {
    fill(bool{});
  } else if (bits(to) > 0 && bits(to) < 8) {
    Tensor bytes(lowest(to) < 0 ? DType::s8 : DType::u8, dims);
    const auto dst = mutable_words<std::uint8_t>(bytes);
    for (std::size_t i = 0; i < src.size(); ++i) {
      dst[i] = static_cast<std::uint8_t>(convert<std::int64_t, From>(src[i]));
    }
    y = packed(bytes, to);
  } else {
    with_numbers(node, to, fill);
  }
  return y;
}

std::vector<Tensor> cast(const ComputeArgs& args) {
  const Tensor x = widened(unpacked(args.inputs[0]));
  const DType to = args.outputs[0].dtype;
  if (args.inputs[0].dtype() == to) return one(args.inputs[0]);
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
