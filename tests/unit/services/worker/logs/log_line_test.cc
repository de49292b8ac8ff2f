#include "services/worker/logs/log_line.h"

#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

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

}  // namespace
}  // namespace regroup
