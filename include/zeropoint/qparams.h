// Quantization parameters: real = scale * (q - zero_point).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "zeropoint/tensor.h"

namespace zeropoint {

struct PerTensor {  // scale: []
  friend bool operator==(const PerTensor&, const PerTensor&) = default;
};
struct PerChannel {  // x: [O,I,kh,kw], axis 0 -> scale: [O]
  int axis = 0;
  friend bool operator==(const PerChannel&, const PerChannel&) = default;
};
struct PerGroup {  // x: [K,N], axis 0, size 32 -> scale: [K/32,N]
  int axis = 0;
  std::int64_t size = 32;
  friend bool operator==(const PerGroup&, const PerGroup&) = default;
};
using Granularity = std::variant<PerTensor, PerChannel, PerGroup>;

struct QParams {
  DType dtype = DType::u8;
  Granularity granularity;
  std::vector<float> scale;              // one, or one a channel
  std::vector<std::int32_t> zero_point;  // as many as scale
  int bits = 0;                          // fewer than the type has, so that it holds fewer levels; 0: all of them
  friend bool operator==(const QParams&, const QParams&) = default;
};
using QParamsMap = std::map<std::string, QParams>;  // value name -> parameters
std::string to_text(const QParamsMap& qparams);

}  // namespace zeropoint
