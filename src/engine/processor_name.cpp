#include "engine/processor_name.h"

namespace zeropoint::engine {

std::string processor_name(std::istream& cpuinfo) {
  std::string implementer;
  for (std::string line; std::getline(cpuinfo, line);) {
    const std::size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    const std::string value = line.substr(colon + 2);
    if (line.starts_with("model name")) return value;
    if (line.starts_with("CPU implementer")) implementer = value + " ";
    if (line.starts_with("CPU part")) return implementer + value;
  }
  return "unknown";
}

}  // namespace zeropoint::engine
