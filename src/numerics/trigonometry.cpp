// The trigonometric and hyperbolic functions of numerics/elementary.h.
#include <array>
#include <bit>
#include <cmath>  // sqrt, which IEC 60559 rounds correctly
#include <cstddef>
#include <cstdint>
#include <limits>

#include "numerics/elementary.h"

namespace zeropoint::numerics {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kHalfPi = 1.5707963267948966, kHalfPiLow = 6.123233995736766e-17;

double magnitude(double x) { return std::bit_cast<double>(std::bit_cast<std::uint64_t>(x) & ~(std::uint64_t{1} << 63)); }
double with_sign(double size, double sign) { return std::bit_cast<std::uint64_t>(sign) >> 63 != 0 ? -size : size; }

template <std::size_t N>
double polynomial(const double (&coefficients)[N], double x) {  // ascending powers
  double value = coefficients[N - 1];
  for (std::size_t i = N - 1; i-- > 0;) value = value * x + coefficients[i];
  return value;
}

// The binary digits of 2/pi behind the point, 32 a word, after two words of zeros that stand before it.
constexpr std::array<std::uint32_t, 42> kTwoPerPi = {
    0,           0,           0xA2F9836EU, 0x4E441529U, 0xFC2757D1U, 0xF534DDC0U, 0xDB629599U, 0x3C439041U, 0xFE5163ABU,
    0xDEBBC561U, 0xB7246E3AU, 0x424DD2E0U, 0x06492EEAU, 0x09D1921CU, 0xFE1DEB1CU, 0xB129A73EU, 0xE88235F5U, 0x2EBB4484U,
    0xE99C7026U, 0xB45F7E41U, 0x3991D639U, 0x835339F4U, 0x9C845F8BU, 0xBDF9283BU, 0x1FF897FFU, 0xDE05980FU, 0xEF2F118BU,
    0x5A0A6D1FU, 0x6D367ECFU, 0x27CB09B7U, 0x4F463F66U, 0x9E5FEA2DU, 0x7527BAC7U, 0xEBE5F17BU, 0x3D0739F7U, 0x8A5292EAU,
    0x6BFB5FB1U, 0x1F8D5D08U, 0x56033046U, 0xFC7B6BABU, 0xF0CFBC20U, 0x9AF4361DU};

// x = quadrant pi/2 + rest with |rest| <= pi/4; quadrant modulo 4.
struct Reduced {
  int quadrant;
  double rest;
};

// Payne and Hanek, "Radian reduction for trigonometric functions" (1983): x = m 2^e, and of the digits of 2/pi only those
// matter whose product with x is below 4. 192 of them keep 2^-137 of a quadrant, where doubles come no nearer than 2^-62.
Reduced reduce(double size) {
  if (size <= 0.7853981633974483) return {0, size};
  constexpr std::size_t kWords = 6;
  const auto bits = std::bit_cast<std::uint64_t>(size);
  const auto exponent = static_cast<int>(bits >> 52) - 1075;  // -53 ... 971
  const std::uint64_t m = (bits & 0x000FFFFFFFFFFFFFU) | 0x0010000000000000U;
  const auto first = static_cast<std::size_t>(exponent - 2 + 64);  // the digit of weight 2^(1 - exponent), after the zeros
  std::array<std::uint64_t, kWords> digits{};                      // 32 bits each, lowest first
  for (std::size_t i = 0; i < kWords; ++i) {
    const std::size_t word = first / 32 + i, shift = first % 32;
    const std::uint64_t pair = (std::uint64_t{kTwoPerPi[word]} << 32) | kTwoPerPi[word + 1];
    digits[kWords - 1 - i] = (pair >> (32 - shift)) & 0xFFFFFFFFU;
  }
  // product = m digits modulo 2^192; it counts 2^-190 quadrants.
  std::array<std::uint64_t, kWords> product{};
  for (std::size_t part = 0; part < 2; ++part) {
    const std::uint64_t factor = part == 0 ? m & 0xFFFFFFFFU : m >> 32;
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i + part < kWords; ++i) {
      const std::uint64_t sum = digits[i] * factor + product[i + part] + carry;
      product[i + part] = sum & 0xFFFFFFFFU;
      carry = sum >> 32;
    }
  }
  auto quadrant = static_cast<int>(product[kWords - 1] >> 30);
  product[kWords - 1] &= 0x3FFFFFFFU;
  const bool above_half = (product[kWords - 1] & 0x20000000U) != 0;
  if (above_half) {  // 1 - fraction
    ++quadrant;
    std::uint64_t carry = 1;
    for (std::uint64_t& word : product) {
      const std::uint64_t sum = (~word & 0xFFFFFFFFU) + carry;
      word = sum & 0xFFFFFFFFU;
      carry = sum >> 32;
    }
    product[kWords - 1] &= 0x3FFFFFFFU;
  }
  double fraction = 0;
  double weight = std::bit_cast<double>(static_cast<std::uint64_t>(1023 - 190) << 52);
  for (const std::uint64_t word : product) {
    fraction += static_cast<double>(word) * weight;
    weight *= 4294967296.0;
  }
  const double rest = fraction * kHalfPi;
  return {quadrant % 4, above_half ? -rest : rest};
}

// The series, below half a unit in the last place on |x| <= pi/4.
constexpr double kSin[] = {1.0,
                           -1.0 / 6,
                           1.0 / 120,
                           -1.0 / 5040,
                           1.0 / 362880,
                           -1.0 / 39916800,
                           1.0 / 6227020800,
                           -1.0 / 1307674368000,
                           1.0 / 355687428096000};
constexpr double kCos[] = {1.0,
                           -1.0 / 2,
                           1.0 / 24,
                           -1.0 / 720,
                           1.0 / 40320,
                           -1.0 / 3628800,
                           1.0 / 479001600,
                           -1.0 / 87178291200,
                           1.0 / 20922789888000,
                           -1.0 / 6402373705728000};
double sin_series(double x) { return x * polynomial(kSin, x * x); }
double cos_series(double x) { return polynomial(kCos, x * x); }

// atan(k / 16)
constexpr double kAtan[] = {0.0,
                            0.06241880999595735,
                            0.12435499454676144,
                            0.18534794999569476,
                            0.24497866312686414,
                            0.3028848683749714,
                            0.35877067027057225,
                            0.4124104415973873,
                            0.4636476090008061,
                            0.5123894603107377,
                            0.5585993153435624,
                            0.6022873461349642,
                            0.6435011087932844,
                            0.6823165548747481,
                            0.7188299996216245,
                            0.7531512809621944,
                            0.7853981633974483};
constexpr double kAtanSeries[] = {1.0, -1.0 / 3, 1.0 / 5, -1.0 / 7, 1.0 / 9, -1.0 / 11};

double atan_up_to_one(double x) {  // atan(k/16) + atan(t) with |t| <= 1/32
  const auto k = static_cast<std::size_t>(x * 16 + 0.5);
  const double c = static_cast<double>(k) / 16;
  const double t = (x - c) / (1 + x * c);
  return kAtan[k] + t * polynomial(kAtanSeries, t * t);
}

}  // namespace

double sin(double x) {
  const double size = magnitude(x);
  if (!(size < kInfinity)) return kNaN;
  const Reduced at = reduce(size);
  const double value = at.quadrant % 2 == 0 ? sin_series(at.rest) : cos_series(at.rest);
  return with_sign(at.quadrant >= 2 ? -value : value, x);
}

double cos(double x) {
  const double size = magnitude(x);
  if (!(size < kInfinity)) return kNaN;
  const Reduced at = reduce(size);
  const double value = at.quadrant % 2 == 0 ? cos_series(at.rest) : sin_series(at.rest);
  return at.quadrant == 1 || at.quadrant == 2 ? -value : value;
}

double tan(double x) {
  const double size = magnitude(x);
  if (!(size < kInfinity)) return kNaN;
  const Reduced at = reduce(size);
  const double sine = sin_series(at.rest), cosine = cos_series(at.rest);
  return with_sign(at.quadrant % 2 == 0 ? sine / cosine : -cosine / sine, x);
}

double atan(double x) {
  if (x != x) return x;
  const double size = magnitude(x);
  return with_sign(size <= 1 ? atan_up_to_one(size) : (kHalfPi - atan_up_to_one(1 / size)) + kHalfPiLow, x);
}

double asin(double x) {
  const double size = magnitude(x);
  if (!(size <= 1)) return kNaN;
  if (size == 1) return with_sign(kHalfPi, x);
  return atan(x / std::sqrt((1 - x) * (1 + x)));
}

double acos(double x) {
  if (!(magnitude(x) <= 1)) return kNaN;
  if (x == -1) return 2 * kHalfPi;
  return 2 * atan(std::sqrt((1 - x) / (1 + x)));
}

double sinh(double x) {
  const double size = magnitude(x);
  if (size < 0.5) {
    constexpr double kSeries[] = {1.0, 1.0 / 6, 1.0 / 120, 1.0 / 5040, 1.0 / 362880, 1.0 / 39916800, 1.0 / 6227020800};
    return x * polynomial(kSeries, x * x);
  }
  if (x != x) return x;
  const double half = exp(size / 2);  // exp(size) itself may overflow
  return with_sign(size > 40 ? half / 2 * half : (exp(size) - 1 / exp(size)) / 2, x);
}

double cosh(double x) {
  if (x != x) return x;
  const double size = magnitude(x), half = exp(size / 2);
  return size > 40 ? half / 2 * half : (exp(size) + 1 / exp(size)) / 2;
}

double asinh(double x) {
  const double size = magnitude(x);
  if (size < 0.05) {
    constexpr double kSeries[] = {1.0, -1.0 / 6, 3.0 / 40, -15.0 / 336, 105.0 / 3456, -945.0 / 42240};
    return x * polynomial(kSeries, x * x);
  }
  if (x != x) return x;
  return with_sign(size > 1e150 ? log(size) + 0.6931471805599453 : log(size + std::sqrt(size * size + 1)), x);
}

double acosh(double x) {
  if (!(x >= 1)) return kNaN;
  if (x > 1e150) return log(x) + 0.6931471805599453;
  if (x > 2) return log(x + std::sqrt(x * x - 1));
  return 2 * atanh(std::sqrt((x - 1) / (x + 1)));
}

double atanh(double x) {
  const double size = magnitude(x);
  if (!(size <= 1)) return kNaN;
  if (size < 0.05) {
    constexpr double kSeries[] = {1.0, 1.0 / 3, 1.0 / 5, 1.0 / 7, 1.0 / 9, 1.0 / 11};
    return x * polynomial(kSeries, x * x);
  }
  return 0.5 * log((1 + x) / (1 - x));
}

}  // namespace zeropoint::numerics
