// Reports as files: HTML for people, JSON for programs, by the name's ending.
#pragma once

#include <string>

#include "zeropoint/report.h"

namespace zeropoint::cli {

void remember_command(int argc, const char* const* argv);  // for reports to name
const std::string& command();                              // as a shell takes it

// Before long work: throws Error kBadArgument for a name that ends in neither .html nor .json; an empty one is no report.
void check_report_name(const std::string& flag, const std::string& path);
void write_report(const std::string& path, Report report);  // empty: nowhere

}  // namespace zeropoint::cli
