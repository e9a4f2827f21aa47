#include "kernels/ceiling/ceiling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>

namespace zeropoint::kernels {
namespace {

TEST(CeilingTest, EachArithmeticHasALoopForEveryMachine) {
  for (const Arithmetic arithmetic : {Arithmetic::int8, Arithmetic::fp32}) {
    EXPECT_EQ(select_ceiling(arithmetic, IsaSet()).needs, Isa::scalar);
    EXPECT_EQ(select_ceiling(arithmetic, IsaSet()).arithmetic, arithmetic);
    const CeilingLoop& best = select_ceiling(arithmetic, detected_isas());
    EXPECT_EQ(best.arithmetic, arithmetic);
    EXPECT_TRUE(detected_isas().contains(best.needs));
  }
}

TEST(CeilingTest, NamesAreUnique) {
  std::set<std::string_view> names;
  for (const CeilingLoop& loop : ceiling_loops()) EXPECT_TRUE(names.insert(loop.name).second) << loop.name;
}

// The loops do what they count: as many products as `operations` says are in the sums. With all inputs 1 each 32-bit sum of a
// loop in registers is the number of products that went into it.
TEST(CeilingTest, CountsItsProducts) {
  for (const CeilingLoop& loop : ceiling_loops()) {
    if (!detected_isas().contains(loop.needs)) continue;
    SCOPED_TRACE(loop.name);
    AlignedBuffer data = allocate_aligned(kCeilingBytes);
    std::memset(data.get(), 1, kCeilingBytes);
    loop.run(data.get(), 3);
    const std::int64_t products = 3 * loop.operations / 2;
    if (loop.needs == Isa::scalar) {
      EXPECT_EQ(products, 3LL * kCeilingRounds * kCeilingSums);
      continue;
    }
    // Loops add the vectors of sums up, onto the ones they began with in x.
    std::int32_t first = 0;
    float first_float = 0;
    std::memcpy(&first, data.get(), sizeof first);
    std::memcpy(&first_float, data.get(), sizeof first_float);
    if (loop.needs == Isa::amxint8) {
      EXPECT_EQ(first, products / (4 * 16 * 16));
    } else if (loop.arithmetic == Arithmetic::fp32) {
      EXPECT_NEAR(first_float, 3 * kCeilingRounds * kCeilingSums, 1);
    } else {
      const std::int64_t sums = 3LL * kCeilingRounds * kCeilingSums;
      const std::int64_t depth = loop.needs == Isa::avx2       ? 2
                                 : loop.needs == Isa::neon     ? 1
                                 : loop.needs == Isa::neoni8mm ? 8
                                                               : 4;
      EXPECT_GE(first, sums * depth);
      EXPECT_LE(first - sums * depth, 0x01010101);  // the inputs of x
    }
  }
}

TEST(CeilingTest, MeasuresOnSeveralThreads) {
  Ceiling ceiling(select_ceiling(Arithmetic::int8, detected_isas()), 2);
  ceiling.measure(0.002);
  const double first = ceiling.operations_per_second();
  EXPECT_GT(first, 0);
  ceiling.measure(0);
  EXPECT_GE(ceiling.operations_per_second(), first);  // the best block so far
}

}  // namespace
}  // namespace zeropoint::kernels
