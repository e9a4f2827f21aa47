// The name of a processor.
#pragma once

#include <istream>
#include <string>

namespace zeropoint::engine {

// From the text of /proc/cpuinfo: the first processor's "model name" (x86), else its "CPU implementer" and "CPU part" (ARM,
// where the part's number is the implementer's own); "unknown" where neither is there.
std::string processor_name(std::istream& cpuinfo);

}  // namespace zeropoint::engine
