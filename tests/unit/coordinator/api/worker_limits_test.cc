// Tests that what a worker sends is bounded, field by field, and that its version is compared.
#include <fmt/format.h>

#include "tests/unit/coordinator/api/coordinator_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

class WorkerLimitsTest : public CoordinatorTest {
 protected:
  absl::Status RegisterAs(const v1::RegisterWorkerRequest& request) {
    v1::RegisterWorkerResponse response;
    return Call(workers_, &v1::WorkerService::StubInterface::RegisterWorker, request, &response);
  }
  v1::RegisterWorkerRequest Registration() const {
    v1::RegisterWorkerRequest request = w1_.Registration();
    request.set_version(REGROUP_VERSION);
    return request;
  }
  static void ExpectRefusal(const absl::Status& status, const std::string& field) {
    EXPECT_EQ(ReasonOf(status), v1::INVALID_FIELD) << field << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  }
};

TEST_F(WorkerLimitsTest, RefusesAnotherVersionAndNamesBoth) {
  v1::RegisterWorkerRequest request = Registration();
  ASSERT_TRUE(RegisterAs(request).ok());
  for (const std::string& version : {std::string("99.0"), std::string(REGROUP_VERSION) + ".1", std::string()}) {
    request.set_version(version);
    const absl::Status status = RegisterAs(request);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << version;
    EXPECT_EQ(ReasonOf(status), v1::VERSION_MISMATCH) << version;
    EXPECT_THAT(std::string(status.message()), HasSubstr(fmt::format("has version \"{}\"", version)));
    EXPECT_THAT(std::string(status.message()), HasSubstr(REGROUP_VERSION));
  }
}

TEST_F(WorkerLimitsTest, BoundsEveryStringOfARegistration) {
  const auto* type = v1::RegisterWorkerRequest::descriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    if (field->type() != google::protobuf::FieldDescriptor::TYPE_STRING) continue;
    v1::RegisterWorkerRequest request = Registration();
    for (const std::string& text : {std::string(5000, 'x'), std::string("a\x1b[2J")}) {
      request.GetReflection()->SetString(&request, field, text);
      if (field->name() == "version") continue;
      ExpectRefusal(RegisterAs(request), field->name());
    }
  }
  v1::ListWorkersResponse page;
  ASSERT_TRUE(Call(cluster_, &v1::ClusterService::StubInterface::ListWorkers, {}, &page).ok());
  EXPECT_EQ(page.workers_size(), 0);
}

TEST_F(WorkerLimitsTest, BoundsTheListOfRunningAttempts) {
  ASSERT_TRUE(Register(w1_).ok());
  v1::RegisterWorkerRequest registration = Registration();
  v1::HeartbeatRequest heartbeat = w1_.Heartbeat();
  for (int i = 0; i < 40000; ++i) {
    v1::AttemptId attempt;
    attempt.set_job("j");
    attempt.set_task(std::to_string(i));
    *registration.add_running() = attempt;
    *heartbeat.add_running() = attempt;
  }
  ExpectRefusal(RegisterAs(registration), "running");
  v1::HeartbeatResponse response;
  ExpectRefusal(Call(workers_, &v1::WorkerService::StubInterface::Heartbeat, heartbeat, &response), "running");
}

TEST_F(WorkerLimitsTest, BoundsWhatAnOutcomeAndAPushCarry) {
  ASSERT_TRUE(Register(w1_).ok());
  ASSERT_TRUE(Submit(Request("small-1")).ok());
  const v1::AttemptId attempt = Acquire(w1_)->attempt();
  v1::TaskOutcome outcome = InspectSuccess();
  outcome.mutable_model()->set_family(std::string(5000, 'x'));
  ExpectRefusal(Report(w1_.Report(attempt, outcome)), "outcome.model.family");
  outcome = Success();
  for (int i = 0; i < 20000; ++i) (*outcome.mutable_figures())[std::to_string(i)] = i;
  ExpectRefusal(Report(w1_.Report(attempt, outcome)), "outcome.figures");
  outcome = FailureOf(v1::FAILURE_CLASS_USER, std::string(500'000, 'x'));
  ExpectRefusal(Report(w1_.Report(attempt, outcome)), "outcome.failure.message");

  v1::AttemptReport report;
  *report.mutable_attempt() = attempt;
  report.add_logs()->set_message("short");
  report.add_logs()->set_message(std::string(1 << 20, 'x'));
  ExpectRefusal(Push(w1_, report), "reports[0].logs[1].message");
  report.clear_logs();
  report.add_metrics()->set_metric(std::string(5000, 'x'));
  ExpectRefusal(Push(w1_, report), "reports[0].metrics[0].metric");
  report.clear_metrics();
  report.mutable_attempt()->set_job(std::string(5000, 'x'));
  ExpectRefusal(Push(w1_, report), "reports[0].attempt.job");
  EXPECT_EQ(Get("jobs/small-1")->tasks(0).state(), v1::TASK_STATE_RUNNING);
  EXPECT_TRUE(Report(w1_.Report(attempt, InspectSuccess())).ok());
}

}  // namespace
}  // namespace regroup
