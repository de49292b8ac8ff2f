// Tests that a job cannot fill the store with its log, also across restarts of the coordinator.
#include <algorithm>
#include <string>
#include <vector>

#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kBound = 1 << 20;
/// Bytes of a flooding line's message; about 100 of them fill the log.
constexpr size_t kLine = 10'000;

class LogBudgetTest : public CoordinatorTest {
 protected:
  LogBudgetTest() { options_.max_log_bytes_per_job = kBound; }

  v1::AttemptId Begin(const std::string& job) {
    EXPECT_TRUE(Register(w1_).ok());
    EXPECT_TRUE(Submit(Request(job)).ok());
    return Acquire(w1_)->attempt();
  }
  /// Sends lines in pieces, as a worker does.
  void Print(const v1::AttemptId& attempt, int lines, const std::string& message,
             v1::LogSeverity severity = v1::LOG_SEVERITY_INFO) {
    while (lines > 0) {
      v1::AttemptReport report;
      *report.mutable_attempt() = attempt;
      for (int i = 0; i < 50 && lines > 0; ++i, --lines) {
        v1::LogEntry& entry = *report.add_logs();
        entry.set_severity(severity);
        entry.set_message(message);
      }
      const absl::Status pushed = Push(w1_, report);
      ASSERT_TRUE(pushed.ok()) << pushed;
    }
  }
  std::vector<std::string> Messages(const std::string& job) const {
    std::vector<std::string> messages;
    const auto lines = store_->ReadLogs({.job = job, .limit = 100'000, .bytes = size_t{1} << 30});
    EXPECT_TRUE(lines.ok());
    for (const auto& line : *lines) messages.push_back(line.message.message());
    return messages;
  }
  int64_t Lines(const std::string& job, const std::string& message) const {
    const std::vector<std::string> messages = Messages(job);
    return std::count(messages.begin(), messages.end(), message);
  }
  int64_t Stored(const std::string& job) const { return *store_->LogBytes(job); }
};

TEST_F(LogBudgetTest, StoresNoMoreThanTheBoundAndSaysSoOnce) {
  const v1::AttemptId attempt = Begin("flood");
  const std::string flood(kLine, 'x');
  Print(attempt, 500, flood);
  EXPECT_GT(Stored("flood"), kBound - 2 * static_cast<int64_t>(kLine));
  EXPECT_LT(Stored("flood"), kBound + 1000);
  EXPECT_EQ(Lines("flood",
                  "the log of this job has reached 1 MiB (--max-log-mib-per-job): of what follows only errors "
                  "are stored"),
            1);
}

TEST_F(LogBudgetTest, SaysAfterTheTaskHowManyLinesWereLeftOut) {
  const v1::AttemptId attempt = Begin("flood");
  const std::string flood(kLine, 'x');
  Print(attempt, 500, flood);
  const int64_t left_out = 500 - Lines("flood", flood);
  EXPECT_GT(left_out, 300);
  ASSERT_TRUE(Report(w1_.Report(attempt, FailureOf(v1::FAILURE_CLASS_USER))).ok());
  EXPECT_THAT(Messages("flood"), Contains(std::to_string(left_out) + " lines of this job's log were left out"));
}

TEST_F(LogBudgetTest, StoresErrorsBeyondTheBoundButNotWithoutEnd) {
  const v1::AttemptId attempt = Begin("flood");
  Print(attempt, 500, std::string(kLine, 'x'));
  Print(attempt, 1, "why it failed", v1::LOG_SEVERITY_ERROR);
  EXPECT_EQ(Lines("flood", "why it failed"), 1);
  Print(attempt, 500, std::string(kLine, 'y'), v1::LOG_SEVERITY_ERROR);
  EXPECT_LT(Stored("flood"), kBound + kBound / 16 + 1000);
}

TEST_F(LogBudgetTest, ARestartGrantsNothing) {
  const v1::AttemptId attempt = Begin("flood");
  Print(attempt, 500, std::string(kLine, 'x'));
  const int64_t before = Stored("flood");
  Start();
  w1_.running = {attempt};
  ASSERT_TRUE(Register(w1_).ok());
  Print(attempt, 500, std::string(kLine, 'z'));
  EXPECT_LT(Stored("flood"), before + 1000);
  EXPECT_EQ(Lines("flood", std::string(kLine, 'z')), 0);
}

TEST_F(LogBudgetTest, OtherJobsHaveTheirOwn) {
  w1_.slots = 2;
  const v1::AttemptId attempt = Begin("flood");
  Print(attempt, 500, std::string(kLine, 'x'));
  ASSERT_TRUE(Submit(Request("quiet")).ok());
  const v1::AttemptId other = Acquire(w1_)->attempt();
  Print(other, 1, "heard");
  EXPECT_THAT(Messages("quiet"), Contains("heard"));
  ASSERT_TRUE(Report(w1_.Report(other, FailureOf(v1::FAILURE_CLASS_USER))).ok());
  EXPECT_THAT(Messages("quiet"), Not(Contains(HasSubstr("left out"))));
}

}  // namespace
}  // namespace regroup
