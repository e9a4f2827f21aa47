#include <iterator>

#include "kernels/ceiling/ceiling.h"

namespace zeropoint::kernels {
namespace {

// Operations of a pass in registers, where a vector of sums takes `macs` multiply-accumulates in a round.
constexpr std::int64_t in_registers(int macs) { return 2LL * kCeilingRounds * kCeilingSums * macs; }

constexpr CeilingLoop kLoops[] = {
#if defined(__x86_64__)
    {"ceiling_int8_amxint8", Isa::amxint8, Arithmetic::int8, kCeilingAmxOperations, ceiling_int8_amxint8},
    {"ceiling_int8_avx512vnni", Isa::avx512vnni, Arithmetic::int8, in_registers(64), ceiling_int8_avx512vnni},
    {"ceiling_int8_avx2vnni", Isa::avx2vnni, Arithmetic::int8, in_registers(32), ceiling_int8_avx2vnni},
    {"ceiling_int8_avx2", Isa::avx2, Arithmetic::int8, in_registers(16), ceiling_int8_avx2},
    {"ceiling_fp32_avx512vnni", Isa::avx512vnni, Arithmetic::fp32, in_registers(16), ceiling_fp32_avx512vnni},
    {"ceiling_fp32_avx2", Isa::avx2, Arithmetic::fp32, in_registers(8), ceiling_fp32_avx2},
#elif defined(__aarch64__)
    {"ceiling_int8_neoni8mm", Isa::neoni8mm, Arithmetic::int8, in_registers(32), ceiling_int8_neoni8mm},
    {"ceiling_int8_neondot", Isa::neondot, Arithmetic::int8, in_registers(16), ceiling_int8_neondot},
    {"ceiling_int8_neon", Isa::neon, Arithmetic::int8, in_registers(4), ceiling_int8_neon},
    {"ceiling_fp32_neon", Isa::neon, Arithmetic::fp32, in_registers(4), ceiling_fp32_neon},
#endif
    {"ceiling_int8_reference", Isa::scalar, Arithmetic::int8, in_registers(1), ceiling_int8_reference},
    {"ceiling_fp32_reference", Isa::scalar, Arithmetic::fp32, in_registers(1), ceiling_fp32_reference},
};

}  // namespace

std::span<const CeilingLoop> ceiling_loops() { return kLoops; }

const CeilingLoop& select_ceiling(Arithmetic arithmetic, IsaSet isas) {
  for (const CeilingLoop& loop : kLoops)
    if (loop.arithmetic == arithmetic && isas.contains(loop.needs)) return loop;
  return *(std::end(kLoops) - (arithmetic == Arithmetic::int8 ? 2 : 1));
}

}  // namespace zeropoint::kernels
