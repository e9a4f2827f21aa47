// The loops, one instruction set a file. Safe to include in files of any ISA.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zeropoint::kernels {

inline constexpr std::size_t kCeilingNear = std::size_t{32} << 10;  // read over and over: stays in L1
inline constexpr std::size_t kCeilingFar = std::size_t{768} << 10;  // read once a pass: stays in L2
inline constexpr std::size_t kCeilingBytes = kCeilingNear + kCeilingFar;

// Of the loops that stay in registers: rounds of a pass, and vectors of sums that each round adds to. All sums are equal; an
// empty asm statement behind each product keeps the compiler from knowing that, and from reordering them into memory.
inline constexpr int kCeilingRounds = 1024, kCeilingSums = 12;

// Passes of AMX: both 16-row tiles of a panel of kCeilingNear bytes meet all of kCeilingFar.
inline constexpr std::int64_t kCeilingAmxOperations = static_cast<std::int64_t>(kCeilingFar / 2048) * 4 * 2 * 16 * 16 * 64;

void ceiling_int8_reference(void* data, std::int64_t passes) noexcept;
void ceiling_fp32_reference(void* data, std::int64_t passes) noexcept;

void ceiling_int8_avx2(void* data, std::int64_t passes) noexcept;
void ceiling_fp32_avx2(void* data, std::int64_t passes) noexcept;
void ceiling_int8_avx2vnni(void* data, std::int64_t passes) noexcept;
void ceiling_int8_avx512vnni(void* data, std::int64_t passes) noexcept;
void ceiling_fp32_avx512vnni(void* data, std::int64_t passes) noexcept;
void ceiling_int8_amxint8(void* data, std::int64_t passes) noexcept;

void ceiling_int8_neon(void* data, std::int64_t passes) noexcept;
void ceiling_fp32_neon(void* data, std::int64_t passes) noexcept;
void ceiling_int8_neondot(void* data, std::int64_t passes) noexcept;
void ceiling_int8_neoni8mm(void* data, std::int64_t passes) noexcept;

}  // namespace zeropoint::kernels
