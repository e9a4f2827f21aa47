#include "binding.h"

#include <nanobind/stl/vector.h>

#include <sstream>
#include <string>
#include <vector>

namespace zeropoint::python {
namespace {

std::vector<std::string> isa_names() {
  std::istringstream words(to_string(allowed_isas()));
  std::vector<std::string> names;
  for (std::string word; words >> word;) names.push_back(word);
  return names;
}

}  // namespace

std::optional<Isa> isa_from(const std::optional<std::string>& isa_name) {
  if (!isa_name) return std::nullopt;
  const auto isa = parse_isa(*isa_name);
  if (!isa)
    throw Error(ErrorCode::kBadArgument, "max_isa",
                "no instruction set is called '" + *isa_name + "'; this machine has: " + to_string(detected_isas()));
  return isa;
}

}  // namespace zeropoint::python

NB_MODULE(_core, m) {
  using namespace zeropoint::python;
  m.doc() = "The native part of zeropoint; use the names of the package `zeropoint`.";
  m.attr("version") = ZEROPOINT_VERSION;
  bind_errors(m);
  bind_model(m);
  bind_session(m);
  bind_tensors(m);
  bind_recipe(m);
  bind_samples(m);
  bind_statistics(m);
  bind_quantize(m);
  bind_budget(m);
  bind_inspect(m);
  bind_workers(m);
  m.def("instruction_sets", &isa_names,
        "Instruction sets that kernels may use here: this machine's, capped by the environment's ZEROPOINT_MAX_ISA.");
  m.def("physical_cores", &zeropoint::physical_cores,
        "Physical cores that this process may run on: the default of ``threads``.");
}
