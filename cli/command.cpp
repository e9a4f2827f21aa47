#include "command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "base/file.h"
#include "zeropoint/error.h"

namespace zeropoint::cli {
namespace {

std::atomic<bool> stop{false};

void on_signal(int) {
  if (stop.exchange(true)) _exit(kInterrupted);  // the second one does not wait
}

std::map<std::string, Dims> parse_shapes(const std::vector<std::string>& texts) {
  std::map<std::string, Dims> shapes;
  for (const auto& text : texts) {
    const auto fail = [&] { throw Error(ErrorCode::kBadArgument, "--shape " + text, "write it as NAME=1,3,224,224"); };
    const std::size_t equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0) fail();
    Dims dims;
    const char* at = text.data() + equals + 1;
    const char* end = text.data() + text.size();
    while (at != end) {
      std::int64_t dim = 0;
      const auto [next, error] = std::from_chars(at, end, dim);
      if (error != std::errc() || dim < 0 || (next != end && *next != ',')) fail();
      dims.push_back(dim);
      at = next == end ? end : next + 1;
    }
    shapes[text.substr(0, equals)] = std::move(dims);
  }
  return shapes;
}

}  // namespace

void CommonFlags::add_to(CLI::App& verb) {
  verb.add_option("--threads", threads, "threads; 0: the physical cores")->check(CLI::Range(0, 4096))->capture_default_str();
  verb.add_flag("--json", json, "print the result as JSON");
  verb.add_flag("--quiet", quiet, "no progress");
  verb.add_option("--seed", seed, "of everything that is drawn by chance")->capture_default_str();
  verb.add_option("--max-isa", max_isa,
                  "use no instruction set above: scalar avx2 avx2vnni avx512vnni amxint8 neon neondot neoni8mm");
  verb.add_option("--shape", shapes, "fix an input's dimensions: NAME=1,3,224,224")->allow_extra_args(false);
}

void CommonFlags::add_max_memory(CLI::App& verb) {
  verb.add_option("--max-memory", max_memory, "most memory to use, such as 2GiB")
      ->transform(CLI::AsSizeValue(false))
      ->check(CLI::PositiveNumber);
}

void CommonFlags::add_autotune(CLI::App& verb) {
  verb.add_flag(
      "--autotune", autotune,
      "measure which kernels run fastest on this machine; kept in a file for the next time, the results are the same");
  verb.add_option("--tuning-cache", tuning_cache,
                  "folder of what --autotune measured; default: zeropoint/tuning in $XDG_CACHE_HOME or ~/.cache");
}

SessionOptions CommonFlags::session_options() const {
  SessionOptions options{.threads = threads, .autotune = autotune, .tuning_folder = tuning_cache};
  if (!max_isa.empty()) {
    options.max_isa = parse_isa(max_isa);
    if (!options.max_isa)
      throw Error(ErrorCode::kBadArgument, "--max-isa",
                  "no instruction set is called '" + max_isa + "'; this machine has: " + to_string(detected_isas()));
  }
  options.shapes = parse_shapes(shapes);
  return options;
}

void DataFlags::add_to(CLI::App& verb, bool required) {
  auto* data =
      verb.add_option("--data", path, "samples: a folder of .npy, .npz or pictures, or one .npz with a leading sample axis");
  if (required) data->required();
  verb.add_option("--preprocess", preprocess, "how pictures become tensors; default: preprocess.json in their folder");
  verb.add_option("--labels", labels, "CSV with columns file,label; default: labels.csv in the folder");
  verb.add_option("--samples", samples, "draw this many by --seed; default: all")->check(CLI::PositiveNumber);
  verb.add_flag("--others", complement, "with --samples: take those that would not be drawn");
}

ChosenSamples open(const DataFlags& flags, const CommonFlags& common, const Graph& model) {
  ChosenSamples result;
  result.all = open_samples(flags.path, model.inputs, {.preprocess = flags.preprocess, .labels = flags.labels});
  const std::size_t size = result.all->size();
  auto indices = draw(size, flags.samples == 0 ? size : flags.samples, common.seed);
  if (flags.complement) indices = complement(size, indices);
  if (indices.empty()) throw Error(ErrorCode::kBadSample, flags.path, fmt::format("no sample is left of {}", size));
  result.chosen = std::make_unique<Subset>(*result.all, std::move(indices));
  return result;
}

Recipe read_recipe(const std::string& name_or_file, const std::string& target) {
  const bool is_file = name_or_file.ends_with(".json") || name_or_file.find('/') != std::string::npos;
  Recipe recipe = is_file ? parse_recipe(read_file(name_or_file), name_or_file) : recipes::named(name_or_file);
  if (target.empty()) return recipe;
  const auto parsed = parse_target(target);
  if (!parsed)
    throw Error(ErrorCode::kBadArgument, "--target",
                "no target is called '" + target + "'; there are: onnxruntime openvino zeropoint");
  recipe.checked = recipe.checked && recipe.target == *parsed;
  recipe.target = *parsed;
  return recipe;
}

Statistics read_statistics(const std::string& path) {
  Statistics statistics = load_statistics(path);
  if (statistics.progress)
    throw Error(ErrorCode::kMismatch, path,
                fmt::format("holds {} of {} samples; join it with the other shards by zeropoint merge", statistics.samples,
                            statistics.progress->total));
  return statistics;
}

struct Progress::State {
  std::string what;
  bool quiet, terminal, drawn = false;
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now(), last{};
};

Progress::Progress(std::string what, bool quiet) : state_(std::make_unique<State>()) {
  state_->what = std::move(what);
  state_->quiet = quiet;
  state_->terminal = ::isatty(STDERR_FILENO) == 1;
}

Progress::~Progress() {
  if (state_->drawn && state_->terminal) std::fputs("\r\033[K", stderr);
}

void Progress::operator()(std::size_t done, std::size_t total) {
  State& s = *state_;
  if (s.quiet || total == 0) return;
  const auto now = std::chrono::steady_clock::now();
  const auto pause = s.terminal ? std::chrono::milliseconds(100) : std::chrono::milliseconds(10000);
  const bool waited = now - (s.drawn ? s.last : s.start) >= pause;
  if (!waited && !(s.terminal && done == total)) return;
  s.last = now;
  s.drawn = true;
  const double elapsed = std::chrono::duration<double>(now - s.start).count();
  const double left = done == 0 ? 0 : elapsed / static_cast<double>(done) * static_cast<double>(total - done);
  if (s.terminal) {
    constexpr std::size_t kWidth = 30;
    const std::size_t filled = done * kWidth / total;
    std::fputs(fmt::format("\r\033[K{} [{}{}] {}/{}  {:.0f} s left", s.what, std::string(filled, '#'),
                           std::string(kWidth - filled, '.'), done, total, left)
                   .c_str(),
               stderr);
  } else {
    std::fputs(fmt::format("{}: {} of {}, about {:.0f} s left\n", s.what, done, total, left).c_str(), stderr);
  }
  std::fflush(stderr);
}

const std::atomic<bool>& interrupted() {
  static const bool installed = [] {
    struct sigaction action{};
    action.sa_handler = on_signal;
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    return true;
  }();
  (void)installed;
  return stop;
}

namespace {

void write_out(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error(ErrorCode::kIo, "standard output", std::string("cannot write: ") + std::strerror(errno));
}

}  // namespace

// Names come from files, which must not command the terminal.
void print(const std::string& text) {
  std::string safe;
  safe.reserve(text.size());
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    safe += printable(std::string_view(text).substr(begin, end - begin));
    if (end < text.size()) safe += '\n';
    begin = end + 1;
  }
  write_out(safe);
}

void print(const nlohmann::ordered_json& json) { write_out(json.dump(2) + "\n"); }

}  // namespace zeropoint::cli
