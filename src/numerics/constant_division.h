// Division by a constant in two operations that round as the division does.
#pragma once

#include <optional>

namespace zeropoint::numerics {

// x / c == fma(x, high, x * low) in fp32 for infinities, and where neither x * low nor the quotient is below the normal
// numbers.
struct ConstantDivision {
  float high, low;  // 1 / c rounded toward zero, and what that leaves rounded
};
// Empty where some x would be rounded otherwise, which is rare, or where that cannot be told fast (c of few bits).
// Brisebarre, Muller and Raina, "Accelerating Correctly Rounded Floating-Point Division when the Divisor Is Known in Advance",
// IEEE Transactions on Computers 53(8), 2004: only quotients within a few 2^-48 of the middle between two numbers are in doubt;
// their x follow from a congruence and are tried.
std::optional<ConstantDivision> constant_division(float c);

}  // namespace zeropoint::numerics
