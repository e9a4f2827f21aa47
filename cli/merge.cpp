// zeropoint merge: joins the statistics of shards.
#include <fmt/format.h>

#include "command.h"
#include "zeropoint/statistics.h"

namespace zeropoint::cli {
namespace {

struct Flags {
  std::vector<std::string> parts;
  std::string output;
  bool mix_isas = false, json = false;
};

void merge_files(const Flags& flags) {
  Statistics all = load_statistics(flags.parts.front());
  for (std::size_t i = 1; i < flags.parts.size(); ++i)
    all = merge(all, load_statistics(flags.parts[i]), {.mix_isas = flags.mix_isas});
  save(all, flags.output);
  if (flags.json) return print(nlohmann::ordered_json::parse(to_json(all)));
  const bool complete = !all.progress;
  print(fmt::format("{}: {} samples of {} files{}, hash {}\n", flags.output, all.samples, flags.parts.size(),
                    complete ? "" : " (parts of the set are missing)", statistics_hash(all)));
}

}  // namespace

void add_merge(CLI::App& program, int*) {
  auto flags = std::make_shared<Flags>();
  CLI::App* verb = program.add_subcommand("merge", "join statistics of calibrations that ran apart");
  verb->add_option("statistics", flags->parts, "files that calibrate wrote")->required()->expected(1, -1);
  verb->add_option("-o,--output", flags->output, "file to write")->required();
  verb->add_flag("--mix-isas", flags->mix_isas,
                 "accept parts that different instruction sets computed (floats differ in last bits)");
  verb->add_flag("--json", flags->json, "print a summary as JSON");
  verb->callback([flags] { merge_files(*flags); });
}

}  // namespace zeropoint::cli
