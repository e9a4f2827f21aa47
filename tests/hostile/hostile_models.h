// Model files that break one rule each.
#pragma once

#include <string>
#include <vector>

#include "zeropoint/error.h"

namespace zeropoint {

struct HostileModel {
  std::string name;  // of the file, without ".onnx"
  std::string bytes;
  ErrorCode code;     // what reading it must throw
  std::string cause;  // part of the message
};
std::vector<HostileModel> hostile_models();

}  // namespace zeropoint
