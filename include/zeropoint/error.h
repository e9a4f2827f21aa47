// The one exception type of the library.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace zeropoint {

enum class ErrorCode : std::uint8_t {
  kOk,
  kIo,            // a file cannot be opened, read, written or renamed (also: disk full)
  kBadFile,       // not the format it should be, truncated, or a checksum differs
  kBadModel,      // a graph that breaks a rule: dangling input, duplicate name, cycle, bad opset
  kBadAttribute,  // an attribute is missing, of the wrong type or out of range
  kBadShape,      // shapes or ranks don't fit
  kBadType,       // element types don't fit
  kUnsupported,   // a valid thing that this version cannot run
  kBadSample,     // a calibration or input sample is unusable
  kNonFinite,     // NaN or infinity where a finite number is needed
  kBadRecipe,     // a recipe is not valid; `where` holds the JSON pointer
  kMismatch,      // two things that must belong together don't (statistics of another model, other ISA)
  kLimit,         // larger than a documented limit
  kBadArgument,   // a wrong argument of a call or of the command line
  kInterrupted,   // the user stopped it
  kInternal,      // our bug
};
std::string_view name(ErrorCode code);

// In one line that no terminal takes for commands: control characters and bytes that are not UTF-8 become \n, \t or \xHH.
std::string printable(std::string_view text);

// Both texts are made printable. `where` names the file, node, value or sample: "node 'conv1' (Conv), input 1".
struct Error : std::runtime_error {
  Error(ErrorCode error_code, std::string place, const std::string& message);
  std::string message() const;  // what() without `where`
  ErrorCode code;
  std::string where;
};

}  // namespace zeropoint
