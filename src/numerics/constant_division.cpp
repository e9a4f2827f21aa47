#include "numerics/constant_division.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace zeropoint::numerics {
namespace {

constexpr int kDigits = 24;
constexpr std::int64_t kFirst = std::int64_t{1} << (kDigits - 1), kEnd = std::int64_t{1} << kDigits;  // of integer mantissas

// The inverse of 2^exponent modulo an odd number.
std::int64_t inverse_power_of_two(int exponent, std::int64_t modulus) {
  const std::int64_t half = (modulus + 1) / 2;
  std::int64_t result = 1;
  for (int i = 0; i < exponent; ++i) result = result * half % modulus;
  return result;
}

}  // namespace

// Let X and C be the integer mantissas. X / C lies in (1/2, 2), and the middles between two numbers are (2j + 1) / 2^k with k =
// 24 for X >= C and 25 below. With D = 2^k X - (2j + 1) C the quotient is |D| / (2^k C) away from one. `high` is rounded toward
// zero, so that `low` has its sign and infinities stay; high + low misses 1 / c by at most 2^-47 of it (and what rounding `low`
// twice adds, far less), and x * low is rounded by as much of the quotient: 2^-46 in all, so that |D| <= 2^k X 2^-46 < 8 is in
// doubt.
std::optional<ConstantDivision> constant_division(float c) {
  constexpr float kLeast = 0x1p-60F, kMost = 0x1p60F;
  constexpr std::int64_t kDoubt = 8, kFewestOdd = 1 << 12;
  if (!(std::abs(c) >= kLeast && std::abs(c) <= kMost)) return std::nullopt;
  auto high = static_cast<float>(1.0 / c);
  if (std::abs(static_cast<double>(high) * c) > 1) high = std::nextafter(high, 0.0F);
  const ConstantDivision result{high, static_cast<float>((1.0 - static_cast<double>(high) * c) / c)};

  int exponent;
  const auto mantissa = static_cast<std::int64_t>(std::ldexp(std::frexp(std::abs(c), &exponent), kDigits));
  const int zeros = std::countr_zero(static_cast<std::uint64_t>(mantissa));
  const std::int64_t odd = mantissa >> zeros, common = std::int64_t{2} << zeros;  // of 2^k and 2 C
  if (odd < kFewestOdd) return std::nullopt;
  for (const int k : {kDigits, kDigits + 1}) {
    const std::int64_t inverse = inverse_power_of_two(k - 1 - zeros, odd);
    for (std::int64_t d = -kDoubt; d <= kDoubt; ++d) {
      if ((mantissa + d) % common != 0) continue;  // 2^k X = C + D (mod 2 C)
      const std::int64_t residue = (mantissa + d) / common % odd * inverse % odd;
      for (std::int64_t each = kFirst + (residue - kFirst % odd + odd) % odd; each < kEnd; each += odd) {
        if ((each >= mantissa) != (k == kDigits)) continue;
        const auto x = static_cast<float>(each);
        if (std::fma(x, result.high, x * result.low) != x / c) return std::nullopt;
      }
    }
  }
  return result;
}

}  // namespace zeropoint::numerics
