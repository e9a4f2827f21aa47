#include "zeropoint/error.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/nearest.h"

namespace zeropoint {
namespace {

TEST(Error, IsOnePrintableLine) {
  const Error error(ErrorCode::kBadModel, "node '\x1b[2J\r\n'", "tab\t nul\x01 caf\u00e9 \xff \u0085 end");
  EXPECT_EQ(std::string(error.what()), "node '\\x1b[2J\\x0d\\n': tab\\t nul\\x01 caf\u00e9 \\xff \\xc2\\x85 end");
  EXPECT_EQ(error.where, "node '\\x1b[2J\\x0d\\n'");
  EXPECT_EQ(printable(error.what()), error.what()) << "once is as good as twice";
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82") << "a character cut short";
}

TEST(Error, TellsTheMessageWithoutThePlace) {
  EXPECT_EQ(Error(ErrorCode::kBadShape, "node\n'n'", "has: a colon").message(), "has: a colon");
  EXPECT_EQ(Error(ErrorCode::kBadShape, "", "has: a colon").message(), "has: a colon");
}

TEST(Nearest, IsTheNameWithTheLeastChangesOrNone) {
  const std::vector<std::string> names = {"axes", "axis", "keepdims"};
  EXPECT_EQ(nearest("axiS", names), "axis");
  EXPECT_EQ(nearest("keep_dims", names), "keepdims");
  EXPECT_EQ(nearest("blocksize", names), "");
}

}  // namespace
}  // namespace zeropoint
