// Ceilings: how many operations a second a core does when nothing but arithmetic stands in the way. Time spent in a kernel
// means little on a machine whose clock depends on load, instructions and data; its share of the ceiling, measured in the same
// process and in turns with it, does.
//
// A loop is the inner loop of the best kernel one could write for its instruction set: random data, every register busy. AMX is
// the exception to "registers only": its loop loads its tiles, 32 kB from L1 and 768 kB from L2, as any real product must,
// because that costs a quarter of the clock. On AVX2 it is exact products of 16-bit operands, 8-bit ones could saturate.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/thread_pool.h"
#include "kernels/ceiling/ceiling_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

enum class Arithmetic : std::uint8_t { int8, fp32 };

struct CeilingLoop {
  std::string_view name;  // "ceiling_int8_amxint8"
  Isa needs;
  Arithmetic arithmetic;
  std::int64_t operations;  // of a pass, two a multiply-accumulate
  // `data`: kCeilingBytes of random bytes, aligned to 64; the first 64 are overwritten.
  void (*run)(void* data, std::int64_t passes) noexcept;
};

// Every loop of this build, best first; the last of each arithmetic needs no instruction set.
std::span<const CeilingLoop> ceiling_loops();
const CeilingLoop& select_ceiling(Arithmetic arithmetic, IsaSet isas);

// A loop on several threads at once.
class Ceiling {
 public:
  Ceiling(const CeilingLoop& loop, int threads);  // throws Error kLimit when the system gives fewer threads

  // Runs it for about so long, in blocks of half a millisecond. Call it before, between and after what is compared with it.
  void measure(double seconds);
  double operations_per_second() const { return best_; }  // of all threads together, in the best block so far
  const CeilingLoop& loop() const { return loop_; }

 private:
  double block();

  const CeilingLoop& loop_;
  ThreadPool pool_;
  std::vector<AlignedBuffer> data_;
  std::int64_t passes_ = 1;
  double best_ = 0;
};

}  // namespace zeropoint::kernels
