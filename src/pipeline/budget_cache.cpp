#include "pipeline/budget_cache.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/file.h"
#include "calib/hash64.h"
#include "zeropoint/error.h"

namespace zeropoint {
namespace {

using Json = nlohmann::ordered_json;

// JSON has no infinity.
Json number(double value) { return fmt::format("{}", value); }
double number(const Json& json) { return std::stod(json.get<std::string>()); }

}  // namespace

std::string cache_identity(const Graph& fused, const Samples& samples, const Metric& metric,
                           const std::atomic<bool>* interrupt) {
  std::uint64_t hash = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    if (interrupt != nullptr && *interrupt) throw Error(ErrorCode::kInterrupted, "quantize", "interrupted");
    for (const auto& [name, tensor] : samples.get(i)) hash = calib::hash64(tensor.bytes(), hash);
  }
  return fmt::format("zeropoint {} {} {} {} {} {:016x}", ZEROPOINT_VERSION, graph_hash(fused), metric.name, metric.identity,
                     samples.size(), hash);
}

void BudgetCache::begin(const std::string& identity, bool resume) {
  identity_ = identity;
  std::error_code none;
  if (path_.empty() || !resume || !std::filesystem::exists(path_, none)) return;
  try {
    const Json json = Json::parse(read_file(path_));
    if (json.at("search").get<std::string>() != identity)
      throw Error(ErrorCode::kMismatch, path_.string(),
                  "is of a search with another model, other samples or another metric; without --resume it starts anew");
    if (json.contains("float_value")) float_value_ = number(json.at("float_value"));
    for (const Json& each : json.at("tried")) {
      TriedModel tried{.label = each.at("label"), .recipe = each.at("recipe"), .value = number(each.at("value"))};
      tried.bytes = each.at("bytes");
      tried.seconds = number(each.at("seconds"));
      tried.float_seconds = number(each.at("float_seconds"));
      tried_[tried.recipe] = tried;
    }
  } catch (const Json::exception& error) {
    throw Error(ErrorCode::kBadFile, path_.string(), fmt::format("is no record of a search: {}", error.what()));
  } catch (const std::logic_error& error) {  // of std::stod
    throw Error(ErrorCode::kBadFile, path_.string(), fmt::format("is no record of a search: {}", error.what()));
  }
}

void BudgetCache::set_float_value(double value) {
  float_value_ = value;
  write();
}

const TriedModel* BudgetCache::find(const std::string& recipe) const {
  const auto found = tried_.find(recipe);
  return found == tried_.end() ? nullptr : &found->second;
}

void BudgetCache::add(const TriedModel& tried) {
  tried_[tried.recipe] = tried;
  write();
}

void BudgetCache::remove() const {
  std::error_code ignored;
  if (!path_.empty()) std::filesystem::remove(path_, ignored);
}

void BudgetCache::write() const {
  if (path_.empty()) return;
  Json json = {{"search", identity_}};
  if (float_value_) json["float_value"] = number(*float_value_);
  json["tried"] = Json::array();
  for (const auto& [recipe, tried] : tried_)
    json["tried"].push_back({{"label", tried.label},
                             {"recipe", recipe},
                             {"value", number(tried.value)},
                             {"bytes", tried.bytes},
                             {"seconds", number(tried.seconds)},
                             {"float_seconds", number(tried.float_seconds)}});
  write_file(path_, json.dump(1) + "\n");
}

}  // namespace zeropoint
