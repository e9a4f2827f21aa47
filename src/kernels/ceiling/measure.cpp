#include <algorithm>
#include <chrono>
#include <random>

#include "kernels/ceiling/ceiling.h"

namespace zeropoint::kernels {
namespace {

constexpr double kBlockSeconds = 0.5e-3;  // short enough to fall between two disturbances, long beside waking the threads

}  // namespace

Ceiling::Ceiling(const CeilingLoop& loop, int threads) : loop_(loop), pool_(threads) {
  std::mt19937_64 random(1);
  for (int i = 0; i < threads; ++i) {
    AlignedBuffer& buffer = data_.emplace_back(allocate_aligned(std::max(kCeilingBytes, std::size_t{2} << 20)));
    std::generate_n(buffer.get(), kCeilingBytes, [&] { return static_cast<std::byte>(random() & 0xFF); });
  }
  while (block() < kBlockSeconds && passes_ < (std::int64_t{1} << 40)) passes_ *= 2;
}

double Ceiling::block() {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  pool_.run([&](int worker) { loop_.run(data_[static_cast<std::size_t>(worker)].get(), passes_); });
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  if (seconds > 0)
    best_ = std::max(best_, static_cast<double>(passes_ * loop_.operations) * static_cast<double>(data_.size()) / seconds);
  return seconds;
}

void Ceiling::measure(double seconds) {
  do seconds -= block();
  while (seconds > 0);
}

}  // namespace zeropoint::kernels
