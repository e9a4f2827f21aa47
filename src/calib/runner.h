// What runs the graph for calibration. The engine in earnest; anything that shows the same values in tests.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/tap.h"
#include "zeropoint/statistics.h"

namespace zeropoint::calib {

class Runner {
 public:
  virtual ~Runner() = default;
  // Shows the values given to MakeRunner. For one thread at a time. observe does not throw.
  virtual void run(const Feeds& feeds, const Observe& observe) = 0;
};
// Called in each worker's own thread; the result stays there.
using MakeRunner = std::function<std::unique_ptr<Runner>(const std::vector<std::string>& values)>;

// The engine on one thread; it copies what it needs of the graph.
std::unique_ptr<Runner> engine_runner(const Graph& graph, const std::vector<std::string>& values,
                                      const CalibrateOptions& options);

// calibrate() with these runners. `isas` is what computes the floats.
Statistics calibrate(const Graph& graph, const Samples& samples, const CalibrateOptions& options, const MakeRunner& make_runner,
                     const std::string& isas);

}  // namespace zeropoint::calib
