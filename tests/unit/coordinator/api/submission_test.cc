// Tests the checks of a submission, and that it is acknowledged once and durably.
#include <thread>

#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(CoordinatorTest, TakesAJobFromSubmissionToSuccess) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  ASSERT_TRUE(Register(w1_).ok());
  std::vector<std::string> order;
  while (order.size() < 11) order.push_back(RunOne(w1_));
  EXPECT_THAT(order,
              ElementsAre("inspect", "calibrate", "align-000", "align-001", "finetune", "export", "evaluate-source",
                          "evaluate-averaged", "evaluate-aligned", "evaluate-result", "report"));
  EXPECT_EQ(Get("jobs/small-1")->state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(CoordinatorTest, NamesAJobAfterItsFile) {
  const auto job = Submit(Request(""));
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_THAT(job->name(), ::testing::MatchesRegex("jobs/small-[a-z0-9]{6}"));
  EXPECT_EQ(job->state(), v1::JOB_STATE_QUEUED);
  EXPECT_EQ(job->waiting_reason(), "no worker is connected");
  EXPECT_EQ(job->resolved_spec().alignment().method(), "procrustes");
  EXPECT_FALSE(job->spec().has_alignment());
}

TEST_F(CoordinatorTest, NamesEveryFieldThatIsWrong) {
  v1::JobSpec spec = SmallSpec();
  spec.mutable_alignment()->set_method("procruste");
  spec.clear_output();
  const absl::Status status = Submit(Request("UPPER", spec)).status();
  EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD);
  std::vector<std::string> fields;
  for (const FieldViolation& violation : ViolationsOf(status)) fields.push_back(violation.field());
  EXPECT_THAT(fields, ::testing::IsSupersetOf({"alignment.method", "output.checkpoint", "job_id"}));
}

TEST_F(CoordinatorTest, ValidatesWithoutAccepting) {
  v1::SubmitJobRequest request = Request("small-1");
  request.set_validate_only(true);
  const auto job = Submit(request);
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->resolved_spec().recipe(), "paper");
  EXPECT_EQ(ReasonOf(Get("jobs/small-1").status()), v1::RESOURCE_NOT_FOUND);
}

TEST_F(CoordinatorTest, AnswersARepeatedRequestWithTheFirstJob) {
  v1::SubmitJobRequest request = Request("");
  request.set_request_id("key");
  const std::string first = Submit(request)->name();
  EXPECT_EQ(Submit(request)->name(), first);
  Start();
  EXPECT_EQ(Submit(request)->name(), first);
  request.mutable_spec()->mutable_target()->set_kv_heads(4);
  EXPECT_EQ(ReasonOf(Submit(request).status()), v1::REQUEST_ID_REUSED);
}

TEST_F(CoordinatorTest, MakesOneJobOfManyEqualRequestsAtOnce) {
  v1::SubmitJobRequest request = Request("");
  request.set_request_id("key");
  std::vector<std::string> names(8);
  std::vector<std::thread> callers;
  for (std::string& name : names) {
    callers.emplace_back([&] {
      const auto job = Submit(request);
      name = job.ok() ? job->name() : job.status().ToString();
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_THAT(names, ::testing::Each(names[0]));
  EXPECT_THAT(names[0], HasSubstr("jobs/small-"));
}

TEST_F(CoordinatorTest, RefusesATakenJobId) {
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  EXPECT_EQ(ReasonOf(Submit(Request("small-1")).status()), v1::JOB_ID_TAKEN);
}

TEST_F(CoordinatorTest, AcknowledgesNothingThatTheStoreRefuses) {
  store_->FailCommits(true);
  const absl::Status status = Submit(Request("small-1")).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), v1::STORE_UNAVAILABLE);
  EXPECT_EQ(ReasonOf(Get("jobs/small-1").status()), v1::RESOURCE_NOT_FOUND);
  store_->FailCommits(false);
  EXPECT_TRUE(Submit(Request("small-1")).ok());
}

}  // namespace
}  // namespace regroup
