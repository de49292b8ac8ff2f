#include "services/worker/logs/rank_logs.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/time_util.h>
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
using testing::UnorderedElementsAre;

TEST(LogLine, TakesAJsonLineApart) {
  const v1::LogEntry entry = ParseLogLine(
      R"({"time":"2026-11-02T10:00:00.5Z","severity":"ERROR","component":"trainer","message":"lost","rank":"3","step":7})",
      LogStream::kStderr, 1);
  EXPECT_EQ(entry.severity(), v1::LOG_SEVERITY_ERROR);
  EXPECT_EQ(entry.message(), "lost step=7");
  EXPECT_EQ(entry.rank(), 1);
  EXPECT_EQ(google::protobuf::util::TimeUtil::ToString(entry.time()), "2026-11-02T10:00:00.500Z");
}

TEST(LogLine, OtherTextIsInformationOnOutputAndAWarningOnError) {
  EXPECT_EQ(ParseLogLine("hello", LogStream::kStdout, 0).severity(), v1::LOG_SEVERITY_INFO);
  EXPECT_EQ(ParseLogLine("hello", LogStream::kStderr, 0).severity(), v1::LOG_SEVERITY_WARNING);
  EXPECT_EQ(ParseLogLine("hello", LogStream::kStderr, 0).message(), "hello");
}

TEST(LogLine, JsonThatIsNoLogEntryStaysText) {
  for (const char* text : {"{\"a\":1}", "{\"message\":", "[1,2]", "{}"}) {
    EXPECT_EQ(ParseLogLine(text, LogStream::kStdout, 0).message(), text);
  }
}

TEST(LogLine, AMessageThatIsNoStringIsWrittenOut) {
  EXPECT_EQ(ParseLogLine(R"({"message":{"a":1},"severity":5,"time":6})", LogStream::kStdout, 0).message(),
            R"({"a":1})");
}

TEST(LogLine, BytesThatAreNotTextAreReplaced) {
  const v1::LogEntry entry = ParseLogLine(
      "a\xff\xfe"
      "b",
      LogStream::kStdout, 0);
  EXPECT_EQ(entry.message(),
            "a\xEF\xBF\xBD\xEF\xBF\xBD"
            "b");
  EXPECT_FALSE(entry.SerializeAsString().empty());
}

TEST(LogLine, AVeryLongLineIsCut) {
  EXPECT_EQ(ParseLogLine(std::string(100'000, 'x'), LogStream::kStdout, 0).message().size(), 16u * 1024);
}

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
  EXPECT_EQ(info.st_size, 5'000'000) << "the process that appends sees the length that it expects";
  if (info.st_blocks * 512 >= info.st_size) GTEST_SKIP() << "this file system releases no blocks";
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

void Write(const std::filesystem::path& file, const std::string& text) {
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file, std::ios::app) << text;
}

TEST(RankLogs, TagsEachLineWithTheRankWhoseFileItStandsIn) {
  TemporaryFolder folder;
  LogCollector collector({"j", "t", 1}, "w");
  RankLogs logs(folder.path(), 12, &collector);
  logs.Forward();
  Write(folder.path() / "rank.00" / "stdout", "from zero\n");
  Write(folder.path() / "rank.11" / "stderr", "from eleven\nunfinished");
  Write(folder.path() / "rank.x" / "stdout", "not a rank\n");
  logs.Forward();
  logs.ForwardRest();
  EXPECT_THAT(collector.Tail(),
              UnorderedElementsAre("rank 0: from zero", "rank 11: from eleven", "rank 11: unfinished"));
}

TEST(RankLogs, KeepsWhatMpirunSaysApartFromItsRanks) {
  TemporaryFolder folder;
  LogCollector collector({"j", "t", 1}, "w");
  RankLogs logs(folder.path(), 2, &collector);
  Write(folder.path() / "mpirun" / "stderr", "-------\nprocess rank 1 exited on signal 9\n-------\n");
  Write(folder.path() / "rank.0" / "stderr", "process rank 0 is healthy\n");
  logs.ForwardRest();
  EXPECT_EQ(logs.launcher_output(), "process rank 1 exited on signal 9\n");
}

}  // namespace
}  // namespace regroup
