#include <nlohmann/json.hpp>

#include "report/page.h"
#include "zeropoint/error.h"
#include "zeropoint/report.h"

namespace zeropoint {

std::string to_html(const std::string& json, const std::string& where) {
  const auto data = nlohmann::ordered_json::parse(json, nullptr, false);
  if (!data.is_object() || !data.contains("format") || data["format"] != "zeropoint.report")
    throw Error(ErrorCode::kBadFile, where, "is no report of quantize, compare or report in JSON");
  if (!data.contains("version") || data["version"] != 1)
    throw Error(ErrorCode::kBadFile, where, "is a report of another version of zeropoint");
  std::string page(report::kPageHead);
  // Inside a script element only "<" can end the data: "</script>", "<!--". JSON has another spelling of it.
  for (const char c : data.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace))
    c == '<' ? page += "\\u003c" : page += c;
  return page.append(report::kPageTail);
}

std::string to_html(const Report& report) { return to_html(to_json(report), "report"); }

}  // namespace zeropoint
