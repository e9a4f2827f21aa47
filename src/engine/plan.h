// Plan: a graph compiled for fixed shapes. Steps in order, values with their memory, nothing left to decide at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "zeropoint/session.h"
#include "zeropoint/tensor.h"

namespace zeropoint::engine {

using ValueId = std::int32_t;
inline constexpr ValueId kNoValue = -1;

// How the elements of a value of rank >= 3 lie in memory. Where all spatial dimensions are 1 both are the same.
enum class Layout : std::uint8_t { row_major, channel_last };

enum class Place : std::uint8_t { arena, input, output, constant, alias };

struct PlanValue {
  std::string name;
  DType dtype = DType::undefined;  // f32, or what ONNX says; s8 is held as u8, see `flipped`
  bool flipped = false;            // an s8 value held as q ^ 0x80
  Dims dims;                       // ONNX order
  Layout layout = Layout::row_major;
  Place place = Place::arena;
  std::size_t slot = 0;      // arena: offset; input, output: index
  ValueId alias = kNoValue;  // place alias: the value whose bytes these are, from `alias_offset` bytes on
  std::size_t alias_offset = 0;
  Tensor constant;  // place constant
  std::size_t bytes = 0;
};

struct RunContext {
  std::byte* const* values;  // a pointer for each value
  std::byte* scratch;        // scratch_bytes of the step, shared by its workers
  int worker, workers;
};

class Step {
 public:
  virtual ~Step() = default;
  // Called once for each worker; must not throw, unless single_threaded().
  virtual void run(const RunContext& context) const = 0;
  virtual std::size_t scratch_bytes(int /*workers*/) const { return 0; }
  // Constants that it reads from beginning to end, and what the next step that has some will read: the step may fetch that into
  // the cache while it computes.
  virtual std::span<const std::byte> weights() const { return {}; }
  virtual void runs_before(std::span<const std::byte> /*weights*/) {}
  virtual bool single_threaded() const { return false; }  // run by the caller alone: references
  // Whether the output may take this input's memory: each of its elements is read before the same one of the output is written,
  // and not again, and this step alone writes the output.
  virtual bool overwrites(std::size_t /*input*/) const { return false; }

  StepInfo info;
  std::vector<ValueId> inputs, outputs;
  bool shared = true;  // among the workers; a step shorter than waking them takes is not
};

// Buffers have this many readable bytes before and after them, so that vector loads may run over the edge.
inline constexpr std::size_t kSlackBytes = 64;

struct Plan {
  std::vector<PlanValue> values;
  std::vector<std::unique_ptr<Step>> steps;
  std::vector<ValueId> inputs, outputs;  // graph's order
  // What to show when: `after` is the index of the step that makes it, -1 for inputs and constants.
  struct Tap {
    std::size_t index;  // into LowerOptions::taps
    ValueId value;
    std::int64_t after;
  };
  std::vector<Tap> taps;  // ascending `after`
  std::size_t arena_bytes = 0;
  std::size_t scratch_bytes = 0;
  std::int64_t integer_macs = 0, total_macs = 0;
};

// The value whose bytes these are: itself, or what it is an alias of in the end.
ValueId root_of(const Plan& plan, ValueId value);

// Outputs take the memory of inputs that die, where steps can overwrite them: stores hit lines just read, and the arena
// shrinks. Then offsets for all arena values such that values alive at the same time never overlap; fills slot and arena_bytes.
// Greedy by size, lowest gap that fits (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
// 2020, 3.2).
void plan_memory(Plan& plan);

}  // namespace zeropoint::engine
