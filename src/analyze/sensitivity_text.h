// A NodeSensitivity as JSON, in reports and by itself.
#pragma once

#include <nlohmann/json.hpp>

#include "zeropoint/report.h"

namespace zeropoint::analyze {

nlohmann::ordered_json to_json(const NodeSensitivity& node);

}  // namespace zeropoint::analyze
