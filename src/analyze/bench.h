// How fast a graph runs: as a whole, step by step, and beside what the machine's arithmetic would allow.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "zeropoint/session.h"

namespace zeropoint::analyze {

// What a calibration loop reached in this process, in turns with the runs (kernels/ceiling).
struct CeilingSpeed {
  std::string loop;                  // "ceiling_int8_amxint8"
  double operations_per_second = 0;  // on all threads
};

struct StepSpeed {
  StepInfo step;                        // its `seconds` are those of the fastest run
  std::optional<double> gop_per_s;      // of steps that multiply: two operations a multiply-accumulate
  std::optional<double> ceiling_share;  // of the integer ceiling, or of the float one
};

struct BenchReport {
  int threads = 1;
  std::string isas;       // that kernels were allowed
  std::int64_t runs = 0;  // of the session whose steps are not timed
  double min_seconds = 0, median_seconds = 0, p95_seconds = 0;
  double gop_per_s = 0;         // in the fastest run
  double ceiling_share = 0;     // the time that all multiplications would take at the ceilings / min_seconds
  double integer_coverage = 0;  // share of multiply-accumulates in integers, 0 ... 1
  CeilingSpeed int8, fp32;
  std::vector<StepSpeed> steps;  // in the order of the plan; timed in runs of their own
};

// Runs `graph` on `feeds` for about `seconds`, at least ten times. Throws what Session throws; Error kInterrupted when
// `interrupt` becomes true.
BenchReport bench(const Graph& graph, const Feeds& feeds, const SessionOptions& options, double seconds,
                  const std::atomic<bool>* interrupt = nullptr);

// The slowest `most` steps, slowest first, or all in the order of the plan; then the whole.
std::string to_text(const BenchReport& report, std::optional<std::size_t> most);
std::string to_json(const BenchReport& report);  // an object

}  // namespace zeropoint::analyze
