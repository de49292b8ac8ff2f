#include "services/worker/logs/log_file_tail.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <vector>

#include "services/common/base/files.h"
#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

class LogFileTailTest : public testing::Test {
 protected:
  void Append(const std::string& text) { std::ofstream(file_, std::ios::app) << text; }
  std::vector<std::string> Lines() {
    std::vector<std::string> lines;
    while (tail_.ReadLines(1 << 20, [&](std::string_view line) { lines.emplace_back(line); })) {
    }
    return lines;
  }

  TemporaryFolder folder_;
  const std::filesystem::path file_ = folder_.path() / "stdout";
  LogFileTail tail_{file_};
};

TEST_F(LogFileTailTest, WaitsForAFileThatDoesNotExistYet) {
  EXPECT_THAT(Lines(), IsEmpty());
  Append("one\n");
  EXPECT_THAT(Lines(), ElementsAre("one"));
}

TEST_F(LogFileTailTest, GivesALineOnceItIsComplete) {
  Append("one\ntw");
  EXPECT_THAT(Lines(), ElementsAre("one"));
  Append("o\n\nthree");
  EXPECT_THAT(Lines(), ElementsAre("two", ""));
  std::vector<std::string> rest;
  tail_.ReadUnfinishedLine([&](std::string_view line) { rest.emplace_back(line); });
  EXPECT_THAT(rest, ElementsAre("three"));
}

TEST_F(LogFileTailTest, KeepsOnlyTheEndOfWhatItReadOnTheDisk) {
  constexpr int64_t kKept = 64 * 1024;
  const std::string line(999, 'x');
  LogFileTail tail(file_, kKept);
  size_t lines = 0;
  std::ofstream writer(file_);
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 100; ++i) writer << line << '\n';
    writer.flush();
    while (tail.ReadLines(1 << 20, [&](std::string_view read) { lines += read == line ? 1 : 0; })) {
    }
  }
  EXPECT_EQ(lines, 5000u) << "nothing is lost on the way";
  struct stat info {};
  ASSERT_EQ(stat(file_.c_str(), &info), 0);
  EXPECT_EQ(info.st_size, 5'000'000) << "whoever appends sees the length it expects";
  if (info.st_blocks * 512 >= info.st_size) GTEST_SKIP() << "this file system gives no blocks back";
  EXPECT_LE(info.st_blocks * 512, 4 * kKept);
  EXPECT_EQ(ReadFile(file_)->substr(5'000'000 - 1000), line + "\n");
}

TEST_F(LogFileTailTest, ALineWithoutAnEndComesInPieces) {
  Append(std::string(200'000, 'x'));
  EXPECT_THAT(Lines(), SizeIs(testing::Ge(2u)));
}

TEST_F(LogFileTailTest, StopsAfterTheBytesItMayRead) {
  for (int line = 0; line < 10'000; ++line) Append("0123456789\n");
  size_t lines = 0;
  EXPECT_TRUE(tail_.ReadLines(16 * 1024, [&](std::string_view) { ++lines; }));
  EXPECT_GT(lines, 0u);
  EXPECT_LT(lines, 10'000u);
}

}  // namespace
}  // namespace regroup
