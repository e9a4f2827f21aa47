// Choices between kernels that make the same bytes: by the tables, or by what was measured on this machine.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "zeropoint/cpu.h"

namespace zeropoint::engine {

// By the name of a step. What is not named goes by the tables.
struct Tuning {
  std::map<std::string, std::string> kernels;  // of conv_q8
  std::set<std::string> other_sharing;         // shared among the threads where the estimate says no, and the other way round
  // For measuring: in place of a table's first kernel that takes a shape the next, or the one after that, ...
  std::size_t alternative = 0;
  bool all_other_sharing = false;

  bool empty() const { return kernels.empty() && other_sharing.empty(); }
  friend bool operator==(const Tuning&, const Tuning&) = default;
};

// What a choice holds for: nothing of it may differ.
struct TuningKey {
  std::string model;      // hash of the fused graph with the shapes of its inputs
  std::string processor;  // name and instruction sets that kernels may use
  int threads = 1;
  friend bool operator==(const TuningKey&, const TuningKey&) = default;
};

// The name of this processor, as the system tells it, and its instruction sets that kernels may use.
std::string processor_of(IsaSet isas);

// The file of a key in a folder. Where `folder` is empty: in $XDG_CACHE_HOME/zeropoint/tuning, else ~/.cache/zeropoint/tuning;
// empty where there is neither.
std::filesystem::path tuning_file(const std::filesystem::path& folder, const TuningKey& key);
// Nothing when the file does not exist, is damaged, of another version or for another key.
std::optional<Tuning> read_tuning(const std::filesystem::path& file, const TuningKey& key);
// Whether it could be written; makes the folder.
bool write_tuning(const std::filesystem::path& file, const TuningKey& key, const Tuning& tuning);

}  // namespace zeropoint::engine
