#include "base/file.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "zeropoint/error.h"

namespace zeropoint {
namespace {

using ::testing::HasSubstr;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "zeropointXXXXXX";
    folder = ::mkdtemp(name.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::size_t files() const { return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator(folder), {})); }
  std::filesystem::path folder;
};

TEST_F(FileTest, WritesWholeAndLeavesNothingBeside) {
  write_file(folder / "a", std::string("first"));
  write_file(folder / "a", std::string("second"));
  EXPECT_EQ(read_file(folder / "a"), "second");
  EXPECT_EQ(files(), 1U);
}

TEST_F(FileTest, KeepsTheModeOfWhatItReplaces) {
  write_file(folder / "a", std::string("secret"));
  std::filesystem::permissions(folder / "a", std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  write_file(folder / "a", std::string("secret too"));
  struct stat facts{};
  ASSERT_EQ(::stat((folder / "a").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777U, 0600U);
}

TEST_F(FileTest, WritesThroughLinks) {
  write_file(folder / "real", std::string("old"));
  std::filesystem::create_symlink("real", folder / "link");
  write_file(folder / "link", std::string("new"));
  EXPECT_TRUE(std::filesystem::is_symlink(folder / "link"));
  EXPECT_EQ(read_file(folder / "real"), "new");
}

TEST_F(FileTest, RefusesFoldersDevicesAndMissingFolders) {
  for (const std::filesystem::path& path : {folder, std::filesystem::path("/dev/null"), folder / "no" / "file"}) {
    try {
      write_file(path, std::string("x"));
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.code, ErrorCode::kIo);
      EXPECT_THAT(error.what(), HasSubstr(path.string()));
    }
  }
  EXPECT_THROW(MappedFile::open(folder), Error);
  EXPECT_THROW(MappedFile::open(folder / "absent"), Error);
  EXPECT_EQ(files(), 0U);
}

TEST_F(FileTest, ForgottenPartsCanBeReadAgain) {
  const std::string text(100000, 'z');
  write_file(folder / "a", text);
  const auto file = MappedFile::open(folder / "a");
  file->forget(file->bytes().subspan(1, 90000));
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()), text);
}

}  // namespace
}  // namespace zeropoint
