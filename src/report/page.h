// The page of a report, in front of and behind its data.
#pragma once

#include <string_view>

namespace zeropoint::report {

extern const std::string_view kPageHead, kPageTail;

}  // namespace zeropoint::report
