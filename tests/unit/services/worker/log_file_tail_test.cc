#include "services/worker/log_file_tail.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <vector>

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
