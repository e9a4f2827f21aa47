// TapSession: runs a float graph and shows the values on the way, for calibration and comparison.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "zeropoint/session.h"

namespace zeropoint {

// A value while it is fresh; the memory is reused after the callback. Only f32 values are shown (u8/s8 values of a quantized
// graph are not tapped; tap the output of their DequantizeLinear).
struct TapView {
  std::size_t index;  // into the names given to the constructor
  std::span<const float> values;
  std::span<const std::int64_t> dims;  // ONNX order: [N,C,H,W]
  bool channel_last;                   // memory is [N,H,W,C]; else row-major
  bool constant = false;               // the same in every run
};
using Observe = std::function<void(const TapView&)>;
using Alter = std::function<void(const TapView&, std::span<float>)>;  // the same values, to write to

class TapSession {
 public:
  // Throws Error kBadArgument when a name is no value of the graph. Taps never change what is computed; fusions that would
  // hide a tapped value are left out.
  TapSession(const Graph& graph, std::vector<std::string> values, SessionOptions options = {});
  std::vector<Tensor> run(const Feeds& feeds, const Observe& observe);
  // What `alter` writes is what the nodes behind read, and whatever shares the value's memory (a Reshape of it). Constants are
  // not shown.
  std::vector<Tensor> run_altered(const Feeds& feeds, const Alter& alter);
  const Session& session() const { return session_; }

 private:
  Session session_;
};

}  // namespace zeropoint
