// Exact sums of fp32 numbers: no rounding on the way, so order and grouping never show.
//
// The sum is a two's complement integer of 384 bits in units of 2^-149, the smallest fp32 number. The largest is below 2^277
// units, which leaves 106 bits: fewer than 2^64 additions cannot overflow. Compare Kulisch accumulators ("Computer Arithmetic
// and Validity", 2008, chapter 8).
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace zeropoint::numerics {

class ExactSum {
 public:
  using Words = std::array<std::uint64_t, 6>;  // least significant first

  ExactSum() = default;
  explicit ExactSum(const Words& words) : words_(words) {}

  // x must be finite.
  void add(float x) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t exponent = (bits >> 23) & 0xFF;
    const std::uint64_t mantissa = (bits & 0x7FFFFF) | (exponent != 0 ? 0x800000U : 0U);
    const std::uint32_t shift = exponent != 0 ? exponent - 1 : 0;
    const std::size_t word = shift / 64, offset = shift % 64;
    const std::uint64_t low = mantissa << offset, high = offset > 40 ? mantissa >> (64 - offset) : 0;
    if ((bits >> 31) == 0) {
      add_at(word, low, high);
    } else {
      subtract_at(word, low, high);
    }
  }
  void add(const ExactSum& other) { add_words(other.words_); }

  // The nearest double, ties to even.
  double value() const {
    const bool negative = (words_.back() >> 63) != 0;
    const Words magnitude = negative ? negated(words_) : words_;
    int top = -1;  // highest bit set
    for (int w = static_cast<int>(magnitude.size()) - 1; w >= 0 && top < 0; --w) {
      const std::uint64_t word = magnitude[static_cast<std::size_t>(w)];
      if (word != 0) top = w * 64 + 63 - std::countl_zero(word);
    }
    if (top < 0) return 0;
    const auto bit = [&](int index) -> std::uint64_t {
      return (magnitude[static_cast<std::size_t>(index / 64)] >> (index % 64)) & 1;
    };
    const int last = top > 52 ? top - 52 : 0;  // lowest bit that a double keeps
    std::uint64_t mantissa = 0;
    for (int i = top; i >= last; --i) mantissa = (mantissa << 1) | bit(i);
    if (last > 0 && bit(last - 1) != 0) {
      bool above_half = (mantissa & 1) != 0;  // on a tie, odd rounds up as well
      for (int i = 0; i < last - 1 && !above_half; ++i) above_half = bit(i) != 0;
      if (above_half) ++mantissa;
    }
    const double value = std::ldexp(static_cast<double>(mantissa), last - 149);
    return negative ? -value : value;
  }

  const Words& words() const { return words_; }
  friend bool operator==(const ExactSum&, const ExactSum&) = default;

 private:
  static Words negated(const Words& words) {
    Words result{};
    std::uint64_t carry = 1;
    for (std::size_t i = 0; i < words.size(); ++i) {
      result[i] = ~words[i] + carry;
      carry = carry != 0 && result[i] == 0 ? 1 : 0;
    }
    return result;
  }
  // Both only as far as the carry goes: a few words of the six. word + 1 exists: mantissas reach up to bit 277.
  void add_at(std::size_t word, std::uint64_t low, std::uint64_t high) {
    words_[word] += low;
    std::uint64_t carry = words_[word] < low ? 1 : 0;
    const std::uint64_t next = words_[word + 1] + high;
    words_[word + 1] = next + carry;
    carry = (next < high || words_[word + 1] < next) ? 1 : 0;
    for (std::size_t i = word + 2; carry != 0 && i < words_.size(); ++i) carry = ++words_[i] == 0 ? 1 : 0;
  }
  void subtract_at(std::size_t word, std::uint64_t low, std::uint64_t high) {
    std::uint64_t borrow = words_[word] < low ? 1 : 0;
    words_[word] -= low;
    const std::uint64_t before = words_[word + 1], next = before - high;
    words_[word + 1] = next - borrow;
    borrow = (before < high || next < borrow) ? 1 : 0;
    for (std::size_t i = word + 2; borrow != 0 && i < words_.size(); ++i) borrow = words_[i]-- == 0 ? 1 : 0;
  }
  void add_words(const Words& other) {
    std::uint64_t carry = 0;
    for (std::size_t i = 0; i < words_.size(); ++i) {
      const std::uint64_t partial = words_[i] + other[i];
      const std::uint64_t sum = partial + carry;
      carry = (partial < other[i] ? 1U : 0U) | (sum < partial ? 1U : 0U);
      words_[i] = sum;
    }
  }

  Words words_{};
};

}  // namespace zeropoint::numerics
