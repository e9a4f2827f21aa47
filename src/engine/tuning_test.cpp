#include "engine/tuning.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>

#include "base/file.h"
#include "engine/processor_name.h"

namespace zeropoint::engine {
namespace {

namespace fs = std::filesystem;

const TuningKey kKey{.model = "00ff", .processor = "a processor: scalar avx2", .threads = 2};
const Tuning kTuning{.kernels = {{"conv1", "conv_u8s8s32_6x16x2_avx2"}, {"a \"name\"\n", "k"}}, .other_sharing = {"fc"}};

class TuningFileTest : public ::testing::Test {
 protected:
  TuningFileTest() : folder_(fs::temp_directory_path() / ("tuning_test_" + std::to_string(::getpid()))) {}
  ~TuningFileTest() override {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  const fs::path folder_;
};

TEST_F(TuningFileTest, ComesBackAsItWasWritten) {
  const fs::path file = tuning_file(folder_ / "deep", kKey);
  EXPECT_EQ(read_tuning(file, kKey), std::nullopt);
  ASSERT_TRUE(write_tuning(file, kKey, kTuning));
  EXPECT_EQ(read_tuning(file, kKey), kTuning);
}

TEST_F(TuningFileTest, AnotherModelProcessorOrThreadCountHasAnotherFile) {
  TuningKey model = kKey, processor = kKey, threads = kKey;
  model.model = "00fe";
  processor.processor += " avx2vnni";
  threads.threads = 1;
  const fs::path file = tuning_file(folder_, kKey);
  ASSERT_TRUE(write_tuning(file, kKey, kTuning));
  for (const TuningKey& other : {model, processor, threads}) {
    EXPECT_NE(tuning_file(folder_, other), file);
    EXPECT_EQ(read_tuning(file, other), std::nullopt) << "even if their names were the same";
  }
}

TEST_F(TuningFileTest, DamagedFilesAndOtherVersionsAreIgnored) {
  const fs::path file = tuning_file(folder_, kKey);
  ASSERT_TRUE(write_tuning(file, kKey, kTuning));
  const std::string good = read_file(file);
  for (std::size_t length : {std::size_t{0}, std::size_t{1}, good.size() / 2, good.size() - 3}) {
    write_file(file, good.substr(0, length));
    EXPECT_EQ(read_tuning(file, kKey), std::nullopt) << length;
  }
  std::string other = good;
  other.replace(other.find("\"version\": 1"), 12, "\"version\": 0");
  write_file(file, other);
  EXPECT_EQ(read_tuning(file, kKey), std::nullopt);
  other = good;
  other.insert(other.find("\"program\": \"") + 12, "9");  // other kernels, or these in another version
  write_file(file, other);
  EXPECT_EQ(read_tuning(file, kKey), std::nullopt);
  for (const char* text : {"[]", "7", "null", "{\"version\": \"1\"}", "\xff\xfe"}) {
    write_file(file, std::string(text));
    EXPECT_EQ(read_tuning(file, kKey), std::nullopt) << text;
  }
  other = good;
  other.replace(other.find("\"fc\""), 4, "7");
  write_file(file, other);
  EXPECT_EQ(read_tuning(file, kKey), std::nullopt);
}

TEST(ProcessorNameTest, IsTheModelOrOnArmThePartOfAnImplementer) {
  const auto name = [](const std::string& text) {
    std::istringstream cpuinfo(text);
    return processor_name(cpuinfo);
  };
  EXPECT_EQ(name("processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu\n"),
            "Some CPU @ 2 GHz");
  const std::string part = "CPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0x001\nCPU revision\t: 1\n\n";
  EXPECT_EQ(name("processor\t: 0\nCPU implementer\t: 0x41\n" + part), "0x41 0x001");
  EXPECT_EQ(name("processor\t: 0\nCPU implementer\t: 0xc0\n" + part), "0xc0 0x001");
  EXPECT_EQ(name(""), "unknown");
}

TEST_F(TuningFileTest, AFolderThatCannotBeWrittenIsNoError) {
  fs::create_directories(folder_);
  write_file(folder_ / "file", std::string("no folder"));
  EXPECT_FALSE(write_tuning(folder_ / "file" / "x.json", kKey, kTuning));
}

class Environment {  // a variable for a while
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value ? ::setenv(name, value, 1) : ::unsetenv(name);
  }
  ~Environment() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(TuningFolderTest, FollowsTheBaseDirectorySpecification) {
  const Environment home("HOME", "/home/somebody");
  {
    const Environment cache("XDG_CACHE_HOME", "/cache");
    EXPECT_EQ(tuning_file("", kKey).parent_path(), "/cache/zeropoint/tuning");
    EXPECT_EQ(tuning_file("/given", kKey).parent_path(), "/given");
  }
  {
    const Environment cache("XDG_CACHE_HOME", "relative");
    EXPECT_EQ(tuning_file("", kKey).parent_path(), "/home/somebody/.cache/zeropoint/tuning");
  }
  const Environment cache("XDG_CACHE_HOME", nullptr);
  EXPECT_EQ(tuning_file("", kKey).parent_path(), "/home/somebody/.cache/zeropoint/tuning");
  const Environment nowhere("HOME", nullptr);
  EXPECT_EQ(tuning_file("", kKey), "");
}

}  // namespace
}  // namespace zeropoint::engine
