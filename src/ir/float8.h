// The 8- and 4-bit floats by their DType.
#pragma once

#include <cstdint>

#include "numerics/float8.h"
#include "zeropoint/tensor.h"

namespace zeropoint {

inline const numerics::Float8Format& float8_format(DType dtype) {  // not of f8e8m0
  switch (dtype) {
    case DType::f8e4m3fn:
      return numerics::kFloat8E4M3FN;
    case DType::f8e4m3fnuz:
      return numerics::kFloat8E4M3FNUZ;
    case DType::f8e5m2:
      return numerics::kFloat8E5M2;
    case DType::f8e5m2fnuz:
      return numerics::kFloat8E5M2FNUZ;
    default:
      return numerics::kFloat4E2M1;
  }
}

inline float decode_float8(DType dtype, std::uint8_t code) {
  return dtype == DType::f8e8m0 ? numerics::from_e8m0(code) : numerics::from_float8(code, float8_format(dtype));
}
inline std::uint8_t encode_float8(DType dtype, double value, bool saturate = false,
                                  numerics::Float8Rounding rounding = numerics::Float8Rounding::kUp) {
  return dtype == DType::f8e8m0 ? numerics::to_e8m0(value, saturate, rounding)
                                : numerics::to_float8(value, float8_format(dtype), saturate);
}

}  // namespace zeropoint
