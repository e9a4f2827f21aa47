// Casting and checking of tensors that come from outside, against what an input of the model wants.
#include <fmt/format.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "numerics/float16.h"
#include "zeropoint/data.h"

namespace zeropoint {
namespace {

// Calls `use` with a value of the C++ type that stands for dtype; false for types without one.
template <class Use>
bool with_type(DType dtype, const Use& use) {
  switch (dtype) {
    case DType::b8:
      use(bool{});
      return true;
    case DType::f16:
      use(Float16{});
      return true;
    case DType::bf16:
      use(BFloat16{});
      return true;
    case DType::f32:
      use(float{});
      return true;
    case DType::f64:
      use(double{});
      return true;
    case DType::s64:
      use(std::int64_t{});
      return true;
    case DType::u64:
      use(std::uint64_t{});
      return true;
    case DType::s32:
      use(std::int32_t{});
      return true;
    case DType::u32:
      use(std::uint32_t{});
      return true;
    case DType::s16:
      use(std::int16_t{});
      return true;
    case DType::u16:
      use(std::uint16_t{});
      return true;
    case DType::s8:
      use(std::int8_t{});
      return true;
    case DType::u8:
      use(std::uint8_t{});
      return true;
    default:
      return false;
  }
}

template <class T>
constexpr bool is_half = std::is_same_v<T, Float16> || std::is_same_v<T, BFloat16>;

// Halves are handled as the floats that they stand for, booleans as 0 and 1.
template <class T>
auto widen(T value) {
  if constexpr (std::is_same_v<T, Float16>) {
    return numerics::from_f16(value.bits);
  } else if constexpr (std::is_same_v<T, BFloat16>) {
    return numerics::from_bf16(value.bits);
  } else if constexpr (std::is_same_v<T, bool>) {
    return static_cast<std::uint8_t>(value);
  } else {
    return value;
  }
}

template <class Integer>
std::uint64_t magnitude(Integer value) {
  const auto bits = static_cast<std::uint64_t>(value);
  return value < Integer{} ? ~bits + 1 : bits;
}

// value as a To; false when that is not exact. NaN and infinity are exact where To has them; f64 may round to f32.
template <class To, class From>
bool cast_exactly(From value, To& result) {
  if constexpr (std::is_same_v<To, bool>) {
    result = value != From{};
    return value == From{} || value == From{1};
  } else if constexpr (is_half<To>) {
    const auto wide = static_cast<double>(value);
    result.bits = std::is_same_v<To, Float16> ? numerics::to_f16(wide) : numerics::to_bf16(wide);
    if constexpr (std::is_integral_v<From>) {
      if (magnitude(value) > (std::uint64_t{1} << 53)) return false;  // wide may be rounded already
    }
    const auto back = static_cast<double>(widen(result));
    return back == wide || (std::isnan(back) && std::isnan(wide));
  } else if constexpr (std::is_floating_point_v<To> && std::is_integral_v<From>) {
    result = static_cast<To>(value);
    const std::uint64_t bits = magnitude(value);
    return bits == 0 || std::bit_width(bits) - std::countr_zero(bits) <= std::numeric_limits<To>::digits;
  } else if constexpr (std::is_floating_point_v<To>) {
    result = static_cast<To>(value);
    return !std::isinf(result) || std::isinf(value);
  } else if constexpr (std::is_floating_point_v<From>) {
    const auto wide = static_cast<double>(value);
    // The upper bound excludes itself, as 2^63 - 1 is no double.
    const auto low = static_cast<double>(std::numeric_limits<To>::min());
    if (!(wide >= low && wide < std::ldexp(1.0, std::numeric_limits<To>::digits)) || wide != std::floor(wide)) return false;
    result = static_cast<To>(wide);
    return true;
  } else {
    result = static_cast<To>(value);
    return std::in_range<To>(value);
  }
}

Tensor cast(const Tensor& tensor, const ValueInfo& input, const std::string& where) {
  Tensor result(input.type.dtype, tensor.dims());
  const auto complain = [&](const std::string& detail) {
    throw Error(ErrorCode::kBadSample, where,
                fmt::format("input '{}' is {}, the model wants {}{}", input.name, name(tensor.dtype()), name(input.type.dtype),
                            detail));
  };
  bool done = false;
  with_type(tensor.dtype(), [&](auto from_type) {
    with_type(input.type.dtype, [&](auto to_type) {
      using From = decltype(from_type);
      using To = decltype(to_type);
      const auto from = tensor.values<From>();
      const auto to = result.mutable_values<To>();
      for (std::size_t i = 0; i < from.size(); ++i)
        if (!cast_exactly(widen(from[i]), to[i]))
          complain(fmt::format(", which cannot hold element {}, {}", i, widen(from[i])));
      done = true;
    });
  });
  if (!done) complain("");
  return result;
}

template <class T>
std::optional<std::size_t> first_non_finite(const Tensor& tensor) {
  const auto values = tensor.values<T>();
  std::size_t start = 0;
  if constexpr (std::is_same_v<T, float>) {
    // Almost always there is none: blocks of one size are looked through in vectors.
    constexpr std::size_t kBlock = 64;
    constexpr std::uint32_t kExponent = 0x7F800000;
    for (; start + kBlock <= values.size(); start += kBlock) {
      std::uint32_t found = 0;
      for (std::size_t i = 0; i < kBlock; ++i)
        found |= (std::bit_cast<std::uint32_t>(values[start + i]) & kExponent) == kExponent ? 1U : 0U;
      if (found != 0) break;
    }
  }
  for (std::size_t i = start; i < values.size(); ++i)
    if (!std::isfinite(widen(values[i]))) return i;
  return std::nullopt;
}

}  // namespace

Tensor fit_input(Tensor tensor, const ValueInfo& input, const std::string& where) {
  if (const auto& shape = input.type.shape) {
    if (tensor.rank() + 1 == shape->size() && (!shape->front().fixed() || shape->front().value == 1)) {
      Dims dims = tensor.dims();
      dims.insert(dims.begin(), 1);
      tensor = tensor.reshaped(std::move(dims));
    }
    bool fits = tensor.rank() == shape->size();
    for (std::size_t axis = 0; fits && axis < shape->size(); ++axis)
      fits = !(*shape)[axis].fixed() || (*shape)[axis].value == tensor.dim(axis);
    if (!fits)
      throw Error(
          ErrorCode::kBadSample, where,
          fmt::format("input '{}' has shape {}, the model wants {}", input.name, to_string(tensor.dims()), to_string(*shape)));
  }
  if (input.type.dtype == DType::undefined || input.type.dtype == tensor.dtype()) return tensor;
  return cast(tensor, input, where);
}

void check_finite(const Feeds& feeds, const std::string& where) {
  for (const auto& [input, tensor] : feeds) {
    std::optional<std::size_t> found;
    switch (tensor.dtype()) {
      case DType::f16:
        found = first_non_finite<Float16>(tensor);
        break;
      case DType::bf16:
        found = first_non_finite<BFloat16>(tensor);
        break;
      case DType::f32:
        found = first_non_finite<float>(tensor);
        break;
      case DType::f64:
        found = first_non_finite<double>(tensor);
        break;
      default:
        break;
    }
    if (found)
      throw Error(ErrorCode::kNonFinite, where, fmt::format("input '{}' holds NaN or infinity at element {}", input, *found));
  }
}

}  // namespace zeropoint
