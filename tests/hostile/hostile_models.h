// Model files that break one rule each, and mutations of good ones.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "zeropoint/error.h"

namespace zeropoint {

struct HostileModel {
  enum class Stage : std::uint8_t {
    kReading,  // load() throws `code` and a message with `cause`
    kMeaning,  // load() or infer_shapes() throws, naming a node or value
    kEither    // a mutation: refused, or as valid as before
  };
  std::string name;  // of the file, without ".onnx"
  std::string bytes;
  ErrorCode code = ErrorCode::kOk;  // kOk: any
  std::string cause;                // part of the message
  Stage stage = Stage::kReading;
};
void PrintTo(const HostileModel& model, std::ostream* out);  // its name

std::vector<HostileModel> hostile_models();     // made by hand: format, names, tensors, attributes, functions
std::vector<HostileModel> hostile_operators();  // nodes that ONNX forbids
std::vector<HostileModel> hostile_mutations();  // truncations, lengths, bit flips, from fixed seeds
std::vector<HostileModel> hostile_external();   // external data; needs write_external_files() in the model's folder
void write_external_files(const std::string& folder);

}  // namespace zeropoint
