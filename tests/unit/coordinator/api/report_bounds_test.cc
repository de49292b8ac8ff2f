// Tests that what workers push costs the core thread, and the store, a bounded amount.
#include <fmt/format.h>

#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

class ReportBoundsTest : public CoordinatorTest {
 protected:
  absl::Status Push(const v1::PushLogsRequest& request) {
    v1::PushLogsResponse response;
    return Call(workers_, &v1::WorkerService::StubInterface::PushLogs, request, &response);
  }
  v1::PushLogsRequest Pushed(int reports, const v1::AttemptId& attempt) const {
    v1::PushLogsRequest request;
    request.set_worker(w1_.id);
    request.set_incarnation(w1_.incarnation);
    for (int i = 0; i < reports; ++i) {
      v1::AttemptReport& report = *request.add_reports();
      *report.mutable_attempt() = attempt;
      report.add_logs()->set_message("late");
    }
    return request;
  }
  void PushPoints(const v1::AttemptId& attempt, int points) {
    v1::AttemptReport report;
    *report.mutable_attempt() = attempt;
    for (int i = 0; i < points; ++i) {
      v1::MetricPoint& point = *report.add_metrics();
      point.set_metric("loss");
      point.set_step(++step_);
    }
    ASSERT_TRUE(CoordinatorTest::Push(w1_, report).ok());
  }
  int64_t Stored(const std::string& job) { return store_->CountMetrics(job, 1'000'000).value(); }
  std::string Metrics() { return coordinator_->metrics().metrics().Text(); }
  std::vector<std::string> Messages(const std::string& job) {
    std::vector<std::string> messages;
    const auto lines = store_->ReadLogs({.job = job}).value();
    for (const auto& line : lines) messages.push_back(line.message.message());
    return messages;
  }

  int64_t step_ = 0;
};

TEST_F(ReportBoundsTest, TakesAsManyReportsAsAWorkerHasAttempts) {
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  EXPECT_TRUE(Push(Pushed(65, attempt)).ok());
  const absl::Status status = Push(Pushed(66, attempt));
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  EXPECT_THAT(std::string(status.message()), HasSubstr("reports"));
}

TEST_F(ReportBoundsTest, AsksTheStoreOnceForEachJobOfAPush) {
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("ended")).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  ASSERT_TRUE(Report(w1_.Report(attempt, FailureOf(v1::FAILURE_CLASS_USER))).ok());
  w1_.running.clear();
  // A new coordinator has not seen the worker run the attempt.
  Start();
  ASSERT_TRUE(Register(w1_).ok());
  const int before = store_->jobs_read();
  ASSERT_TRUE(Push(Pushed(60, attempt)).ok());
  EXPECT_EQ(store_->jobs_read() - before, 1);
  EXPECT_EQ(Messages("ended").size(), 60u);
}

TEST_F(ReportBoundsTest, AsksTheStoreForFewJobsOfAPush) {
  ASSERT_TRUE(Register(w1_).ok());
  v1::PushLogsRequest request = Pushed(65, {});
  for (int i = 0; i < request.reports_size(); ++i) {
    request.mutable_reports(i)->mutable_attempt()->set_job(fmt::format("unknown-{}", i));
  }
  const int before = store_->jobs_read();
  ASSERT_TRUE(Push(request).ok());
  EXPECT_LE(store_->jobs_read() - before, 16);
  EXPECT_THAT(Metrics(), HasSubstr("regroup_logs_dropped_total 65"));
}

TEST_F(ReportBoundsTest, StoresABoundedNumberOfPointsAlsoAfterARestart) {
  options_.max_points_per_job = 100;
  Start();
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("steps")).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  for (int push = 0; push < 3; ++push) PushPoints(attempt, 50);
  EXPECT_EQ(Stored("steps"), 100);
  EXPECT_THAT(Metrics(), HasSubstr("regroup_points_dropped_total 50"));
  EXPECT_THAT(Metrics(), HasSubstr("regroup_job_step{job_id=\"steps\",task=\"inspect\"} 150"))
      << "training is seen to go on";
  PushPoints(attempt, 50);
  EXPECT_THAT(
      Messages("steps"),
      ::testing::ElementsAre(HasSubstr("100 metric points (--max-points-per-job): none that follow are stored")));
  Start();
  w1_.running = {attempt};
  ASSERT_TRUE(Register(w1_).ok());
  PushPoints(attempt, 50);
  EXPECT_EQ(Stored("steps"), 100);
}

}  // namespace
}  // namespace regroup
