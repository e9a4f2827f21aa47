#include "zeropoint/error.h"

namespace zeropoint {

std::string_view name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kOk:
      return "ok";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kBadFile:
      return "bad_file";
    case ErrorCode::kBadModel:
      return "bad_model";
    case ErrorCode::kBadAttribute:
      return "bad_attribute";
    case ErrorCode::kBadShape:
      return "bad_shape";
    case ErrorCode::kBadType:
      return "bad_type";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kBadSample:
      return "bad_sample";
    case ErrorCode::kNonFinite:
      return "non_finite";
    case ErrorCode::kBadRecipe:
      return "bad_recipe";
    case ErrorCode::kMismatch:
      return "mismatch";
    case ErrorCode::kLimit:
      return "limit";
    case ErrorCode::kBadArgument:
      return "bad_argument";
    case ErrorCode::kInterrupted:
      return "interrupted";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "unknown";
}

Error::Error(ErrorCode error_code, std::string place, const std::string& message)
    : std::runtime_error(place.empty() ? message : place + ": " + message), code(error_code), where(std::move(place)) {}

}  // namespace zeropoint
