// Instruction sets: what this machine has, and what the user allows.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace zeropoint {

enum class Isa : std::uint8_t { scalar, avx2, avx2vnni, avx512vnni, amxint8, neon, neondot, neoni8mm };
std::string_view name(Isa isa);
std::optional<Isa> parse_isa(std::string_view text);

class IsaSet {
 public:
  constexpr IsaSet() = default;  // scalar alone
  constexpr bool contains(Isa isa) const { return (bits_ & bit(isa)) != 0; }
  constexpr IsaSet with(Isa isa) const {
    IsaSet set;
    set.bits_ = bits_ | bit(isa);
    return set;
  }
  constexpr IsaSet intersect(IsaSet other) const {
    IsaSet set;
    set.bits_ = bits_ & other.bits_;
    return set;
  }
  friend constexpr bool operator==(IsaSet, IsaSet) = default;

 private:
  static constexpr std::uint32_t bit(Isa isa) { return 1U << static_cast<unsigned>(isa); }
  std::uint32_t bits_ = bit(Isa::scalar);
};
std::string to_string(IsaSet set);     // "scalar avx2 avx512vnni"
std::vector<Isa> members(IsaSet set);  // scalar first

IsaSet detected_isas();        // CPU and operating system; computed once
IsaSet implied_isas(Isa isa);  // isa and everything that a CPU with it has
// What kernels may use: detected, capped by `max_isa` and by the environment's ZEROPOINT_MAX_ISA. Throws Error kBadArgument
// when a cap names no ISA or one that this machine lacks.
IsaSet allowed_isas(std::optional<Isa> max_isa = std::nullopt);

int physical_cores();  // that this process may run on

}  // namespace zeropoint
