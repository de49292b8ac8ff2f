#include "services/cli/log_tail.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace regroup {
namespace {

TEST(LogTail, ShowsTheLastLinesOldestFirst) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "log_tail_test.log";
  std::ofstream(file) << "one\ntwo\nthree\n";
  EXPECT_THAT(LogTail(file, 2), testing::ElementsAre("two", "three"));
}

TEST(LogTail, OfAMissingFileIsEmpty) { EXPECT_THAT(LogTail("/no/such/file", 5), testing::IsEmpty()); }

TEST(ReadableLogLine, TakesJsonLinesApart) {
  EXPECT_EQ(ReadableLogLine(R"({"time":"t","severity":"ERROR","message":"port taken","component":"c","port":"80"})"),
            "ERROR port taken (port 80)");
}

TEST(ReadableLogLine, LeavesOtherLinesAlone) { EXPECT_EQ(ReadableLogLine("Killed"), "Killed"); }

}  // namespace
}  // namespace regroup
