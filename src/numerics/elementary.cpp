#include "numerics/elementary.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "numerics/elementary_coefficients.h"

namespace zeropoint::numerics {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// 2^n, for -1022 <= n <= 1023.
double power_of_two(std::int64_t n) { return std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52); }

template <std::size_t N>
double polynomial(const double (&coefficients)[N], double x) {  // ascending powers
  double value = coefficients[N - 1];
  for (std::size_t i = N - 1; i-- > 0;) value = value * x + coefficients[i];
  return value;
}

bool is_nan(double x) { return x != x; }
double magnitude(double x) { return std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) & ~(std::uint64_t{1} << 63)); }
bool negative(double x) { return (std::bit_cast<std::uint64_t>(x) >> 63) != 0; }

// Doubles from 2^53 on are even integers.
enum class Parity { kNoInteger, kEven, kOdd };
Parity parity(double y) {
  const double size = magnitude(y);
  if (size >= 9007199254740992.0) return Parity::kEven;
  const auto whole = static_cast<std::int64_t>(size);
  if (static_cast<double>(whole) != size) return Parity::kNoInteger;
  return whole % 2 == 0 ? Parity::kEven : Parity::kOdd;
}

}  // namespace

double exp(double x) {
  if (is_nan(x)) return x;
  if (x > 709.78271289338397) return kInfinity;
  if (x < -745.2) return 0.0;
  constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52: adding and subtracting it rounds to an integer
  const double n = (x * kPerLog2 + kShift) - kShift;
  const double r = (x - n * kLog2High) - n * kLog2Low;
  const double value = polynomial(kExp, r);
  const auto exponent = static_cast<std::int64_t>(n);
  const std::int64_t half = exponent / 2;  // in two steps: 2^1024 and subnormal results
  return value * power_of_two(half) * power_of_two(exponent - half);
}

double log(double x) {
  if (is_nan(x) || x == kInfinity) return x;
  if (x == 0) return -kInfinity;
  if (x < 0) return kNaN;
  std::int64_t exponent = 0;
  if (x < std::numeric_limits<double>::min()) {
    x *= 18014398509481984.0;  // 2^54
    exponent = -54;
  }
  // x = m 2^exponent with m in [sqrt(1/2), sqrt(2)).
  auto bits = std::bit_cast<std::uint64_t>(x);
  exponent += static_cast<std::int64_t>(bits >> 52) - 1023;
  double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFU) | 0x3FF0000000000000U);
  if (m >= 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double f = m - 1.0;
  const double s = f / (2.0 + f);
  const double fraction = s * polynomial(kLog, s * s);
  const auto e = static_cast<double>(exponent);
  return e * kLog2High + (fraction + e * kLog2Low);
}

double pow(double x, double y) {
  if (y == 0 || x == 1) return 1.0;
  if (is_nan(x) || is_nan(y)) return kNaN;
  if (y == 1) return x;
  if (y == 2) return x * x;
  if (y == -1) return 1.0 / x;
  const Parity integer = parity(y);
  const double size = magnitude(x);
  const double sign = negative(x) && integer == Parity::kOdd ? -1.0 : 1.0;
  if (y == kInfinity || y == -kInfinity) {
    if (size == 1) return 1.0;
    return (size > 1) == (y > 0) ? kInfinity : 0.0;
  }
  if (size == 0) return sign * (y > 0 ? 0.0 : kInfinity);
  if (size == kInfinity) return sign * (y > 0 ? kInfinity : 0.0);
  if (x < 0 && integer == Parity::kNoInteger) return kNaN;
  return sign * exp(y * log(size));
}

double tanh(double x) {
  const double size = magnitude(x);
  if (size < 1e-3) return x * (1.0 - x * x * (1.0 / 3 - x * x * (2.0 / 15)));  // the series; -0 stays -0
  if (is_nan(x)) return x;
  const double value = size > 20 ? 1.0 : 1.0 - 2.0 / (exp(2.0 * size) + 1.0);
  return x < 0 ? -value : value;
}

double erf(double x) {
  if (is_nan(x)) return x;
  const double size = magnitude(x);
  if (size <= 1) return x * polynomial(kErfSmall, x * x);
  const double value = size >= 4 ? 1.0 : 1.0 - polynomial(kErfcLarge, size - 2.5);
  return x < 0 ? -value : value;
}

double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

// ---- fp32, fma throughout; kernels/vector_elementary.h has the same operations on vectors

namespace {

float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

template <std::size_t N>
float polynomial(const float (&coefficients)[N], float x) {
  float value = coefficients[N - 1];
  for (std::size_t i = N - 1; i-- > 0;) value = fma(value, x, coefficients[i]);
  return value;
}

float magnitude(float x) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0x7FFFFFFFU); }
float with_sign_of(float size, float x) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(size) | (std::bit_cast<std::uint32_t>(x) & 0x80000000U));
}
float power_of_two_float(std::int32_t n) { return std::bit_cast<float>(static_cast<std::uint32_t>(n + 127) << 23); }

}  // namespace

float exp(float x) {
  if (x != x) return x;
  if (x < kExpLowFloat) return 0;
  if (x > kExpHighFloat) x = kExpHighFloat;
  const float n = fma(x, kPerLog2Float, kShiftFloat) - kShiftFloat;
  const float r = fma(n, -kLog2LowFloat, fma(n, -kLog2HighFloat, x));
  const float value = fma(r * r, polynomial(kExpFloat, r), r) + 1.0F;
  const auto exponent = static_cast<std::int32_t>(n);
  const std::int32_t half = exponent >> 1;  // in two steps: 2^128 and subnormal results
  return value * power_of_two_float(half) * power_of_two_float(exponent - half);
}

float sigmoid(float x) {  // of exp(-|x|), which cannot overflow
  const float e = exp(-magnitude(x));
  return (x < 0 ? e : 1.0F) / (1.0F + e);
}

float tanh(float x) {
  const float size = magnitude(x), square = x * x;
  if (size < kTanhSmallFloat) return with_sign_of(fma(size * square, polynomial(kTanhFloat, square), size), x);
  return with_sign_of(1.0F - 2.0F / (exp(2.0F * size) + 1.0F), x);
}

float erf(float x) {
  if (x != x) return x;
  const float size = magnitude(x) < kErfEndFloat ? magnitude(x) : kErfEndFloat;
  const std::uint32_t part = std::bit_cast<std::uint32_t>(fma(size, kErfPartsPerOne, kShiftFloat)) % kErfParts;
  const float d = size - kErfFloat[0][part];
  float value = kErfFloat[kErfDegree + 2][part];
  for (int i = kErfDegree + 1; i > 1; --i) value = fma(value, d, kErfFloat[i][part]);
  return with_sign_of(fma(value, d, size <= kErfFirstFloat ? size : kErfFloat[1][part]), x);
}

}  // namespace zeropoint::numerics
