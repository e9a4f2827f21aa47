#include "zeropoint/cpu.h"

#include <sched.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <set>
#include <thread>
#include <utility>

#include "zeropoint/error.h"

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace zeropoint {
namespace {

constexpr std::array<std::pair<Isa, std::string_view>, 8> kNames = {{{Isa::scalar, "scalar"},
                                                                     {Isa::avx2, "avx2"},
                                                                     {Isa::avx2vnni, "avx2vnni"},
                                                                     {Isa::avx512vnni, "avx512vnni"},
                                                                     {Isa::amxint8, "amxint8"},
                                                                     {Isa::neon, "neon"},
                                                                     {Isa::neondot, "neondot"},
                                                                     {Isa::neoni8mm, "neoni8mm"}}};

#if defined(__x86_64__)
// Linux hands out the AMX state on request only; a refusal (small signal stacks, old kernels) means "no AMX".
bool request_amx() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}
#endif

IsaSet detect() {
  IsaSet set;
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return set;
  set = set.with(Isa::avx2);
  if (__builtin_cpu_supports("avxvnni")) set = set.with(Isa::avx2vnni);
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512vbmi") || !__builtin_cpu_supports("avx512vnni"))
    return set;
  set = set.with(Isa::avx512vnni);
  if (__builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-int8") && request_amx()) set = set.with(Isa::amxint8);
#elif defined(__aarch64__)
  set = set.with(Isa::neon);
#if defined(__linux__)
  if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) set = set.with(Isa::neondot);
  if (set.contains(Isa::neondot) && (getauxval(AT_HWCAP2) & HWCAP2_I8MM)) set = set.with(Isa::neoni8mm);
#endif
#endif
  return set;
}

IsaSet cap(Isa isa, const std::string& where) {
  if (!detected_isas().contains(isa))
    throw Error(ErrorCode::kBadArgument, where,
                "this machine has no " + std::string(name(isa)) + "; it has: " + to_string(detected_isas()));
  return implied_isas(isa);
}

}  // namespace

std::string_view name(Isa isa) { return kNames[static_cast<std::size_t>(isa)].second; }

std::optional<Isa> parse_isa(std::string_view text) {
  for (const auto& [isa, isa_name] : kNames)
    if (isa_name == text) return isa;
  return std::nullopt;
}

std::vector<Isa> members(IsaSet set) {
  std::vector<Isa> isas;
  for (const auto& [isa, isa_name] : kNames)
    if (set.contains(isa)) isas.push_back(isa);
  return isas;
}

std::string to_string(IsaSet set) {
  std::string text;
  for (const Isa isa : members(set)) text += (text.empty() ? "" : " ") + std::string(name(isa));
  return text;
}

IsaSet detected_isas() {
  static const IsaSet set = detect();
  return set;
}

IsaSet implied_isas(Isa isa) {
  const IsaSet scalar;
  switch (isa) {
    case Isa::scalar:
      return scalar;
    case Isa::avx2:
      return scalar.with(Isa::avx2);
    case Isa::avx2vnni:
      return scalar.with(Isa::avx2).with(Isa::avx2vnni);
    case Isa::avx512vnni:
      return scalar.with(Isa::avx2).with(Isa::avx512vnni);
    case Isa::amxint8:
      return implied_isas(Isa::avx512vnni).with(Isa::avx2vnni).with(Isa::amxint8);
    case Isa::neon:
      return scalar.with(Isa::neon);
    case Isa::neondot:
      return scalar.with(Isa::neon).with(Isa::neondot);
    case Isa::neoni8mm:
      return implied_isas(Isa::neondot).with(Isa::neoni8mm);
  }
  return scalar;
}

IsaSet allowed_isas(std::optional<Isa> max_isa) {
  IsaSet set = detected_isas();
  if (max_isa) set = set.intersect(cap(*max_isa, "max_isa"));
  if (const char* text = std::getenv("ZEROPOINT_MAX_ISA"); text != nullptr && *text != '\0') {
    const auto isa = parse_isa(text);
    if (!isa)
      throw Error(ErrorCode::kBadArgument, "ZEROPOINT_MAX_ISA",
                  "no instruction set is called '" + std::string(text) + "'; this machine has: " + to_string(set));
    set = set.intersect(cap(*isa, "ZEROPOINT_MAX_ISA"));
  }
  return set;
}

int physical_cores() {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    std::set<std::string> cores;  // one entry a set of hyperthread siblings
    int logical = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &allowed)) continue;
      ++logical;
      std::ifstream siblings("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
      std::string list;
      if (!std::getline(siblings, list)) list = std::to_string(cpu);
      cores.insert(list);
    }
    if (logical > 0) return static_cast<int>(cores.size());
  }
#endif
  const unsigned threads = std::thread::hardware_concurrency();
  return threads == 0 ? 1 : static_cast<int>(threads);
}

}  // namespace zeropoint
