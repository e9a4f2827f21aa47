// How models are run to be compared.
#pragma once

#include <atomic>

#include "zeropoint/error.h"
#include "zeropoint/report.h"
#include "zeropoint/session.h"

namespace zeropoint::analyze {

inline SessionOptions session_options(const CompareOptions& options) {
  return {.threads = options.threads, .max_isa = options.max_isa, .shapes = options.shapes};
}

inline void check_interrupt(const std::atomic<bool>* interrupt, const char* where) {
  if (interrupt && *interrupt) throw Error(ErrorCode::kInterrupted, where, "stopped by the user");
}

}  // namespace zeropoint::analyze
