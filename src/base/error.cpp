#include "zeropoint/error.h"

namespace zeropoint {
namespace {

// Bytes of the UTF-8 character at the beginning of `text`, 0 when there is none.
std::size_t utf8_length(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = at(0);
  const std::size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length == 0 || length > text.size()) return 0;
  for (std::size_t i = 1; i < length; ++i)
    if ((at(i) & 0xc0) != 0x80) return 0;
  return length;
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  const auto escape = [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    out += "\\x";
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  };
  while (!text.empty()) {
    const std::size_t length = utf8_length(text);
    const auto first = static_cast<unsigned char>(text[0]);
    if (first == '\n') {
      out += "\\n";
    } else if (first == '\t') {
      out += "\\t";
    } else if (length == 0 || first < 0x20 || first == 0x7f) {
      escape(text[0]);
    } else if (first == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0) {  // U+0080 ... U+009F
      escape(text[0]);
      escape(text[1]);
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  return out;
}

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
    : std::runtime_error(place.empty() ? printable(message) : printable(place) + ": " + printable(message)),
      code(error_code),
      where(printable(place)) {}

std::string Error::message() const {
  const std::string text = what();
  return where.empty() ? text : text.substr(where.size() + 2);
}

}  // namespace zeropoint
