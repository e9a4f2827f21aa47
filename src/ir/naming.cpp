#include "ir/naming.h"

namespace zeropoint {
namespace {

bool is_about_a_model(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBadModel:
    case ErrorCode::kBadAttribute:
    case ErrorCode::kBadShape:
    case ErrorCode::kBadType:
    case ErrorCode::kUnsupported:
    case ErrorCode::kNonFinite:
    case ErrorCode::kLimit:
    case ErrorCode::kBadArgument:
    case ErrorCode::kInternal:
      return true;
    default:
      return false;
  }
}

}  // namespace

Error with_source(const Error& error, const std::string& source) {
  if (source.empty() || !is_about_a_model(error.code) || error.where.starts_with(printable(source))) return error;
  return {error.code, error.where.empty() ? source : source + ", " + error.where, error.message()};
}

}  // namespace zeropoint
