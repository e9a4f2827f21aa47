#include "write_report.h"

#include <cctype>

#include "base/file.h"
#include "zeropoint/error.h"

namespace zeropoint::cli {
namespace {

std::string command_line;

// In single quotes where a shell would change it.
std::string quoted(const std::string& word) {
  bool plain = !word.empty();
  for (const char c : word)
    plain = plain && (std::isalnum(static_cast<unsigned char>(c)) || std::string("-_./=,:+@%").find(c) != std::string::npos);
  if (plain) return word;
  std::string result = "'";
  for (const char c : word) c == '\'' ? result += "'\\''" : result += c;
  return result + "'";
}

bool is_html(const std::string& path) { return path.ends_with(".html") || path.ends_with(".htm"); }

}  // namespace

void remember_command(int argc, const char* const* argv) {
  command_line = "zeropoint";
  for (int i = 1; i < argc; ++i) command_line += " " + quoted(argv[i]);
}
const std::string& command() { return command_line; }

void check_report_name(const std::string& flag, const std::string& path) {
  if (!path.empty() && !is_html(path) && !path.ends_with(".json"))
    throw Error(ErrorCode::kBadArgument, flag + " " + path, "end the name in .html for a page or in .json for data");
}

void write_report(const std::string& path, Report report) {
  if (path.empty()) return;
  report.command = command();
  write_file(path, is_html(path) ? to_html(report) : to_json(report));
}

}  // namespace zeropoint::cli
