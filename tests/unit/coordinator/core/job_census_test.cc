#include "coordinator/core/job_census.h"

#include <gtest/gtest.h>

#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

constexpr Time kNow{std::chrono::seconds(1000)};

class JobCensusTest : public ::testing::Test {
 protected:
  void Add(const std::string& id, int submitted_s) {
    cluster_.AddJob(MakeJob(id, SmallSpec(), Time(std::chrono::seconds(submitted_s))));
    cluster_.TakeEffects().Stored();
  }
  /// Gives a worker to one of the waiting jobs.
  void StartOne() {
    FakeWorker worker("w1", 1);
    cluster_.Register(worker.Registration(), kNow);
    ASSERT_TRUE(cluster_.Acquire(worker.Acquire(1), 1, kNow).ok());
    cluster_.PlaceTasks(kNow);
    cluster_.TakeEffects().Stored();
  }

  Cluster cluster_{ClusterOptions{}};
  JobCensus census_;
};

TEST_F(JobCensusTest, CountsAllJobsInAsManyLooksAsItNeeds) {
  for (int job = 0; job < 5; ++job) Add("job-" + std::to_string(job), 100 + job);
  StartOne();
  EXPECT_FALSE(census_.Continue(cluster_, kNow, 2));
  EXPECT_FALSE(census_.Continue(cluster_, kNow, 2));
  const std::optional<JobCounts> counts = census_.Continue(cluster_, kNow, 2);
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->jobs, (std::map<v1::JobState, int>{{v1::JOB_STATE_QUEUED, 4}, {v1::JOB_STATE_RUNNING, 1}}));
  EXPECT_EQ(counts->tasks.at({v1::TASK_KIND_INSPECT, v1::TASK_STATE_READY}), 4);
  EXPECT_EQ(counts->tasks.at({v1::TASK_KIND_INSPECT, v1::TASK_STATE_RUNNING}), 1);
  EXPECT_EQ(counts->waiting, (std::map<std::string_view, int>{{"slots", 4}}));
  EXPECT_EQ(counts->oldest_queued, Time(std::chrono::seconds(101))) << "the oldest of all runs";
}

TEST_F(JobCensusTest, BeginsAnewAfterTheLastJob) {
  EXPECT_TRUE(census_.Continue(cluster_, kNow, 10)->jobs.empty());
  Add("a", 1);
  Add("b", 2);
  EXPECT_FALSE(census_.Continue(cluster_, kNow, 1));
  EXPECT_EQ(census_.Continue(cluster_, kNow, 1)->jobs.at(v1::JOB_STATE_QUEUED), 2);
  EXPECT_FALSE(census_.Continue(cluster_, kNow, 1));
  EXPECT_EQ(census_.Continue(cluster_, kNow, 10)->jobs.at(v1::JOB_STATE_QUEUED), 2);
}

}  // namespace
}  // namespace regroup
