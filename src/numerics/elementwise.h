// What operators of two numbers compute, for references and kernels alike. Integers wrap around, as in two's complement
// hardware.
#pragma once

#include <cstdint>
#include <type_traits>

namespace zeropoint::numerics {

// Sums, differences and products modulo 2^64 are those modulo any smaller power of two.
template <class T>
using Wrapping = std::conditional_t<std::is_integral_v<T>, std::uint64_t, T>;

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
  }
};
struct Sub {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrapping<T>>(a) - static_cast<Wrapping<T>>(b));
  }
};
struct Mul {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
  }
};
struct Min {  // NaN wins
  template <class T>
  T operator()(T a, T b) const {
    return a != a ? a : b != b ? b : (b < a ? b : a);
  }
};
struct Max {  // NaN wins
  template <class T>
  T operator()(T a, T b) const {
    return a != a ? a : b != b ? b : (a < b ? b : a);
  }
};
struct PRelu {
  template <class T>
  T operator()(T x, T slope) const {
    return x < T{0} ? Mul()(slope, x) : x;
  }
};

}  // namespace zeropoint::numerics
