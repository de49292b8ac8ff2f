// Tests that the report task's result gets its final name only with permission, and only once.
#include <fstream>

#include "services/common/base/files.h"
#include "tests/unit/services/worker/worker_fixture.h"

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class WorkerPublication : public WorkerFixture {
 protected:
  void SetUp() override {
    Stage(staged_, "demo");
    StartWorker();
  }
  static void Stage(const std::filesystem::path& folder, const std::string& job) {
    std::filesystem::create_directories(folder / "regroup");
    std::ofstream(folder / "regroup" / "report.json") << R"({"job": ")" << job << R"("})";
  }
  v1::TaskAssignment Report(int64_t epoch) const {
    v1::TaskAssignment assignment =
        MakeAssignment("report", "publish", 1, {{"staged", staged_.string()}, {"published", published_.string()}});
    assignment.mutable_attempt()->set_epoch(epoch);
    return assignment;
  }

  const std::filesystem::path staged_ = folder_.path() / "staged";
  const std::filesystem::path published_ = folder_.path() / "published";
};

TEST_F(WorkerPublication, AsksRenamesAndReports) {
  const AttemptKey key = Assign(Report(1));
  EXPECT_FALSE(coordinator_.WaitForOutcome(key).has_failure());
  StopWorker();
  EXPECT_THAT(coordinator_.questions, ElementsAre(key));
  EXPECT_TRUE(std::filesystem::exists(published_ / "regroup" / "report.json"));
  EXPECT_FALSE(std::filesystem::exists(staged_));
}

TEST_F(WorkerPublication, AStaleAttemptPublishesNothing) {
  coordinator_.MakeStale({"demo", "report", 1});
  Assign(Report(1));
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.refused_reports == 1; }));
  StopWorker();
  EXPECT_FALSE(std::filesystem::exists(published_));
  EXPECT_FALSE(std::filesystem::exists(staged_));
  EXPECT_THAT(coordinator_.outcomes, IsEmpty());
}

TEST_F(WorkerPublication, PublishingAgainAfterALostAnswerIsHarmless) {
  coordinator_.LoseNextAnswer();
  Assign(Report(1));
  ASSERT_TRUE(coordinator_.WaitUntil([&] { return coordinator_.outcomes.size() == 2; }));
  EXPECT_FALSE(coordinator_.outcomes[1].second.has_failure());
  Stage(staged_, "demo");
  const AttemptKey next = Assign(Report(2));
  EXPECT_FALSE(coordinator_.WaitForOutcome(next).has_failure()) << "the next epoch finds its job's result";
}

TEST_F(WorkerPublication, AFolderThatClaimsToBeTheResultIsNotBelieved) {
  std::filesystem::create_directories(published_ / "regroup");
  std::ofstream(published_ / "regroup" / "report.json") << R"({"job": "demo", "model": "none"})";
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(Assign(Report(1)));
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_USER);
  EXPECT_THAT(outcome.failure().message(), HasSubstr(published_.string()));
}

TEST_F(WorkerPublication, AFolderOfSomebodyElseIsNotReplaced) {
  Stage(published_, "another-job");
  const v1::TaskOutcome outcome = coordinator_.WaitForOutcome(Assign(Report(1)));
  EXPECT_EQ(outcome.failure().failure_class(), v1::FAILURE_CLASS_USER);
  EXPECT_THAT(outcome.failure().message(), HasSubstr(published_.string()));
  EXPECT_THAT(*ReadFile(published_ / "regroup" / "report.json"), HasSubstr("another-job"));
}

}  // namespace
}  // namespace regroup
