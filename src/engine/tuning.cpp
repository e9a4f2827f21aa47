#include "engine/tuning.h"

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>

#include "base/content_hash.h"
#include "base/file.h"
#include "engine/processor_name.h"
#include "kernels/conv_q8/conv_q8.h"
#include "zeropoint/error.h"

namespace zeropoint::engine {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kVersion = 1;  // of the file

fs::path default_folder() {
  const auto variable = [](const char* name) -> fs::path {
    const char* value = std::getenv(name);
    return value == nullptr ? fs::path() : fs::path(value);
  };
  // The XDG Base Directory Specification: a relative path is to be ignored.
  if (const fs::path cache = variable("XDG_CACHE_HOME"); cache.is_absolute()) return cache / "zeropoint" / "tuning";
  if (const fs::path home = variable("HOME"); home.is_absolute()) return home / ".cache" / "zeropoint" / "tuning";
  return {};
}

// This program, whose kernels were measured: its version and the kernels there are for choice.
std::string program() {
  std::string names;
  for (const kernels::ConvKernel& kernel : kernels::conv_q8_kernels()) names += std::string(kernel.name) + "\n";
  return ZEROPOINT_VERSION " " + content_hash(std::as_bytes(std::span(names)));
}

}  // namespace

std::string processor_of(IsaSet isas) {
  std::ifstream cpuinfo("/proc/cpuinfo");
  return processor_name(cpuinfo) + ": " + to_string(isas);
}

fs::path tuning_file(const fs::path& folder, const TuningKey& key) {
  const fs::path where = folder.empty() ? default_folder() : folder;
  if (where.empty()) return {};
  const std::string text = key.model + "\n" + key.processor + "\n" + std::to_string(key.threads) + "\n" + program();
  return where / (content_hash(std::as_bytes(std::span(text))) + ".json");
}

std::optional<Tuning> read_tuning(const fs::path& file, const TuningKey& key) {
  try {
    const Json json = Json::parse(read_file(file));
    if (json.at("version").get<int>() != kVersion || json.at("program") != program()) return std::nullopt;
    const TuningKey of{.model = json.at("model"), .processor = json.at("processor"), .threads = json.at("threads")};
    if (of != key) return std::nullopt;
    return Tuning{.kernels = json.at("kernels").get<std::map<std::string, std::string>>(),
                  .other_sharing = json.at("other_sharing").get<std::set<std::string>>()};
  } catch (const Json::exception&) {
    return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

bool write_tuning(const fs::path& file, const TuningKey& key, const Tuning& tuning) {
  try {
    std::error_code failed;
    fs::create_directories(file.parent_path(), failed);
    const Json json = {{"version", kVersion},
                       {"program", program()},
                       {"model", key.model},
                       {"processor", key.processor},
                       {"threads", key.threads},
                       {"kernels", tuning.kernels},
                       {"other_sharing", tuning.other_sharing}};
    write_file(file, json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
    return true;
  } catch (const Json::exception&) {
    return false;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace zeropoint::engine
