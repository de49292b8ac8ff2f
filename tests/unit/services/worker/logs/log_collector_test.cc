#include "services/worker/logs/log_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

v1::LogEntry Line(const std::string& message, int rank = 0) {
  v1::LogEntry entry;
  entry.set_message(message);
  entry.set_rank(rank);
  return entry;
}

LogCollector SmallCollector() { return LogCollector({"job", "finetune", 3}, "node-1", 4, 4); }

TEST(LogCollector, GivesWhatCameOnceAndNamesItsOrigin) {
  LogCollector collector = SmallCollector();
  EXPECT_FALSE(collector.Take().has_value());
  collector.AddLine(Line("hello", 1));
  const auto report = collector.Take();
  ASSERT_TRUE(report.has_value());
  EXPECT_EQ(report->attempt().epoch(), 3);
  ASSERT_THAT(report->logs(), SizeIs(1));
  EXPECT_EQ(report->logs(0).task(), "finetune");
  EXPECT_EQ(report->logs(0).epoch(), 3);
  EXPECT_EQ(report->logs(0).worker(), "node-1");
  EXPECT_EQ(report->logs(0).rank(), 1);
  EXPECT_FALSE(collector.Take().has_value());
}

TEST(LogCollector, DropsTheOldestLinesAndSaysHowMany) {
  LogCollector collector = SmallCollector();
  for (int line = 0; line < 10; ++line) collector.AddLine(Line(std::to_string(line)));
  EXPECT_EQ(collector.dropped_lines(), 6);
  const auto report = collector.Take();
  ASSERT_THAT(report->logs(), SizeIs(5));
  EXPECT_THAT(report->logs(0).message(), HasSubstr("6 log lines were dropped"));
  EXPECT_EQ(report->logs(1).message(), "6");
  EXPECT_EQ(report->logs(4).message(), "9");
}

TEST(LogCollector, BoundsTheMetricsToo) {
  LogCollector collector = SmallCollector();
  for (int step = 0; step < 10; ++step) {
    v1::MetricPoint point;
    point.set_step(step);
    collector.AddMetric(point);
  }
  const auto report = collector.Take();
  ASSERT_THAT(report->metrics(), SizeIs(4));
  EXPECT_EQ(report->metrics(0).step(), 6);
  EXPECT_EQ(report->metrics(0).task(), "finetune");
}

TEST(LogCollector, OnlyTheLatestProgressIsSent) {
  LogCollector collector = SmallCollector();
  v1::Progress progress;
  for (int done = 0; done < 3; ++done) {
    progress.set_done(done);
    collector.SetProgress(progress);
  }
  EXPECT_EQ(collector.Take()->progress().done(), 2);
  EXPECT_FALSE(collector.Take().has_value());
}

TEST(LogCollector, TheTailOutlivesTaking) {
  LogCollector collector({"job", "finetune", 3}, "node-1");
  for (int line = 0; line < 30; ++line) collector.AddLine(Line("line " + std::to_string(line), 1));
  collector.Take();
  const std::vector<std::string> tail = collector.Tail();
  ASSERT_THAT(tail, SizeIs(20));
  EXPECT_EQ(tail.front(), "rank 1: line 10");
  EXPECT_EQ(tail.back(), "rank 1: line 29");
}

TEST(LogCollector, OneReportStaysFarBelowTheLargestMessage) {
  LogCollector collector({"job", "finetune", 3}, "node-1");
  for (int line = 0; line < 400; ++line) collector.AddLine(Line(std::string(16'000, 'x')));
  size_t lines = 0;
  while (const auto report = collector.Take()) {
    EXPECT_LT(report->ByteSizeLong(), 2u << 20);
    lines += static_cast<size_t>(report->logs_size());
  }
  EXPECT_EQ(lines, 400u);
}

TEST(LogCollectors, ListAnAttemptForAsLongAsItsCollectorIsHeld) {
  LogCollectors collectors;
  std::shared_ptr<LogCollector> first = collectors.Add({"job", "finetune", 3}, "node-1");
  const std::shared_ptr<LogCollector> second = collectors.Add({"job", "finetune", 4}, "node-1");
  EXPECT_THAT(collectors.All(), SizeIs(2));
  EXPECT_EQ(collectors.Find({"job", "finetune", 3}), first);
  first.reset();
  EXPECT_THAT(collectors.All(), testing::ElementsAre(second));
  EXPECT_EQ(collectors.Find({"job", "finetune", 3}), nullptr);
}

}  // namespace
}  // namespace regroup
