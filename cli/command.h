// What the verbs share: common flags, progress, output. One file a verb: add_VERB() declares its flags and what it does.
#pragma once

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "zeropoint/data.h"
#include "zeropoint/recipe.h"
#include "zeropoint/session.h"
#include "zeropoint/statistics.h"

namespace zeropoint::cli {

// Exit codes of the program; documented in --help.
inline constexpr int kGood = 0, kMissed = 1, kBadInput = 2, kInterrupted = 130;  // missed: accuracy

struct CommonFlags {
  int threads = 0;
  bool json = false, quiet = false;
  std::uint64_t max_memory = 0;  // bytes; 0: no bound
  std::uint64_t seed = 0;
  std::string max_isa;
  std::vector<std::string> shapes;  // NAME=1,3,224,224
  bool autotune = false;
  std::string tuning_cache;

  void add_to(CLI::App& verb);
  void add_max_memory(CLI::App& verb);     // where a verb keeps to it
  void add_autotune(CLI::App& verb);       // where sessions live long enough
  SessionOptions session_options() const;  // throws Error kBadArgument
};

// Where samples come from, for the verbs that take some.
struct DataFlags {
  std::string path, preprocess, labels;
  std::size_t samples = 0;  // 0: all
  bool complement = false;  // those that `--samples N --seed S` would not draw

  void add_to(CLI::App& verb, bool required);
};
struct ChosenSamples {
  std::unique_ptr<Samples> all;
  std::unique_ptr<Subset> chosen;
  const Samples& get() const { return *chosen; }
};
ChosenSamples open(const DataFlags& flags, const CommonFlags& common, const Graph& model);

// A bar with the time left on a terminal, a line every few seconds elsewhere, nothing when quiet. On standard error.
class Progress {
 public:
  Progress(std::string what, bool quiet);
  ~Progress();
  void operator()(std::size_t done, std::size_t total);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// A recipe by its name, or of a JSON file, with another target where one is given. Throws Error.
Recipe read_recipe(const std::string& name_or_file, const std::string& target);
// Statistics of all samples: those of one shard are an Error.
Statistics read_statistics(const std::string& path);

const std::atomic<bool>& interrupted();  // set by SIGINT and SIGTERM
void print(const std::string& text);     // to standard output; throws Error kIo when it cannot be written
void print(const nlohmann::ordered_json& json);

// Inputs made up by chance at the given shapes; open dimensions are 1.
Feeds random_feeds(const Graph& model, const std::map<std::string, Dims>& shapes, std::uint64_t seed);

// Each sets `*exit_code` when it runs.
using AddVerb = void (*)(CLI::App& program, int* exit_code);
void add_inspect(CLI::App& program, int* exit_code);
void add_quantize(CLI::App& program, int* exit_code);
void add_calibrate(CLI::App& program, int* exit_code);
void add_merge(CLI::App& program, int* exit_code);
void add_run(CLI::App& program, int* exit_code);
void add_compare(CLI::App& program, int* exit_code);
void add_sensitivity(CLI::App& program, int* exit_code);
void add_evaluate(CLI::App& program, int* exit_code);
void add_bench(CLI::App& program, int* exit_code);
void add_report(CLI::App& program, int* exit_code);

}  // namespace zeropoint::cli
