// Weight-only matrix products. See matmul_wq_functions.h for the contract.
#pragma once

#include <span>
#include <vector>

#include "kernels/matmul_wq/matmul_wq_functions.h"
#include "zeropoint/cpu.h"

namespace zeropoint::kernels {

struct MatmulWqKernels {
  const char* name;
  Isa needs;
  const MatmulWqFunctions* functions;
};
std::span<const MatmulWqKernels> matmul_wq_kernels();  // best first, reference last
const MatmulWqKernels& select_matmul_wq(IsaSet isas);

// Bytes and numbers in the order of all kernels.
std::int64_t packed_wq_bytes(const WqShape& shape);
std::int64_t packed_wq_parameters(const WqShape& shape);  // numbers
// value(k, n): 0 ... 255, or 0 ... 15; column by column of a panel. Missing columns are 0.
template <class Value>
void pack_wq(const WqShape& s, const Value& value, std::uint8_t* to) {
  const std::int64_t steps = s.bits == 8 ? s.k : (s.k + 1) / 2;
  for (std::int64_t panel = 0; panel < s.panels(); ++panel)
    for (std::int64_t step = 0; step < steps; ++step)
      for (std::int64_t c = 0; c < kWqPanel; ++c, ++to) {
        const std::int64_t n = panel * kWqPanel + c;
        unsigned byte = 0;
        if (n < s.n && s.bits == 8) byte = value(step, n);
        if (n < s.n && s.bits == 4) {
          byte = value(2 * step, n);
          if (2 * step + 1 < s.k) byte |= static_cast<unsigned>(value(2 * step + 1, n)) << 4;
        }
        *to = static_cast<std::uint8_t>(byte);
      }
}
// value(block, n)
template <class Value>
void pack_wq_parameters(const WqShape& s, const Value& value, float* to) {
  for (std::int64_t panel = 0; panel < s.panels(); ++panel)
    for (std::int64_t block = 0; block < s.blocks(); ++block)
      for (std::int64_t c = 0; c < kWqPanel; ++c, ++to) {
        const std::int64_t n = panel * kWqPanel + c;
        *to = n < s.n ? value(block, n) : 0.0F;
      }
}

}  // namespace zeropoint::kernels
