// Tests that a wall clock which is moved between two starts of the coordinator neither lengthens pauses nor ends jobs.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

#include "coordinator/core/core.h"
#include "coordinator/schedule/straggler.h"
#include "coordinator/store/sqlite_job_store.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

/// A machine whose wall clock and running time the test moves.
struct FakeMachine {
  Time wall = Time(hours(24 * 365 * 50));
  BootTime boot{"first-boot", hours(10)};

  void Pass(Duration time) {
    wall += time;
    boot.since += time;
  }
};

class ClockChangeTest : public ::testing::Test {
 protected:
  ClockChangeTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "clock_XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  ~ClockChangeTest() override {
    core_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  /// Starts the coordinator's core on the same store; the clocks stand while it runs.
  void Start() {
    core_.reset();
    store_.reset();
    store_ = SqliteJobStore::Open({.path = folder_ / "regroup.db"}).value();
    const FakeMachine machine = machine_;
    core_ = std::make_unique<Core>(ClusterOptions{}, store_.get(), &feeds_, &metrics_,
                                   Clocks{[machine] { return machine.wall; }, [machine] { return machine.boot; }});
    ASSERT_TRUE(core_->Recover().ok());
    core_->Start();
    ASSERT_TRUE(Change([this](Turn& turn) {
                  turn.cluster.Register(worker_.Registration(), turn.now);
                  return absl::OkStatus();
                }).ok());
  }

  absl::Status Change(Core::Apply apply) {
    auto done = std::make_shared<std::promise<absl::Status>>();
    core_->Change(std::move(apply), [done](const absl::Status& status, const Turn&) { done->set_value(status); });
    return done->get_future().get();
  }

  void Add(int64_t max_runtime_s) {
    v1::JobSpec spec = SmallSpec();
    spec.mutable_resources()->set_max_runtime_s(max_runtime_s);
    ASSERT_TRUE(Change([&](Turn& turn) {
                  turn.cluster.AddJob(MakeJob("a", spec, turn.now));
                  return absl::OkStatus();
                }).ok());
  }

  /// Asks for a task; returns none if no task may start now.
  std::optional<v1::TaskAssignment> Acquire() {
    auto done = std::make_shared<std::promise<std::optional<v1::TaskAssignment>>>();
    const uint64_t ticket = core_->Acquire(
        worker_.Acquire(1), [done](const absl::Status&, const auto& assignment) { done->set_value(assignment); });
    std::future<std::optional<v1::TaskAssignment>> answer = done->get_future();
    // The turn of this change is after the one that could have answered.
    EXPECT_TRUE(Change([](Turn&) { return absl::OkStatus(); }).ok());
    if (answer.wait_for(seconds(0)) != std::future_status::ready) core_->StopWaiting(worker_.id, ticket);
    const std::optional<v1::TaskAssignment> assignment = answer.get();
    if (assignment) worker_.running.push_back(assignment->attempt());
    return assignment;
  }

  void FailTask(const v1::AttemptId& attempt) {
    ASSERT_TRUE(Change([&](Turn& turn) {
                  return turn.cluster.Report(worker_.Report(attempt, FailureOf(v1::FAILURE_CLASS_INFRA)), turn.now);
                }).ok());
    worker_.running.clear();
  }

  /// Returns the state after the core has looked at its limits.
  v1::JobState StateAfterTick() {
    v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
    EXPECT_TRUE(Change([&](Turn& turn) {
                  turn.cluster.Tick(turn.now);
                  const absl::StatusOr<v1::Job> job = turn.DescribeJob("a");
                  if (job.ok()) state = job->has_failure() ? v1::JOB_STATE_FAILED : job->state();
                  return job.status();
                }).ok());
    return state;
  }

  std::filesystem::path folder_;
  FakeMachine machine_;
  std::unique_ptr<SqliteJobStore> store_;
  JobFeeds feeds_;
  CoordinatorMetrics metrics_;
  std::unique_ptr<Core> core_;
  FakeWorker worker_{"w1"};
};

TEST_F(ClockChangeTest, AClockPutBackDoesNotLengthenAPause) {
  Start();
  Add(0);
  const auto assignment = Acquire();
  ASSERT_TRUE(assignment.has_value());
  FailTask(assignment->attempt());
  machine_.Pass(seconds(2));
  machine_.wall -= hours(2);
  Start();
  EXPECT_TRUE(Acquire().has_value());
}

TEST_F(ClockChangeTest, AClockPutForwardDoesNotCutAPauseShort) {
  Start();
  Add(0);
  const auto assignment = Acquire();
  ASSERT_TRUE(assignment.has_value());
  FailTask(assignment->attempt());
  machine_.wall += hours(2);
  Start();
  EXPECT_FALSE(Acquire().has_value());
}

TEST_F(ClockChangeTest, AClockPutForwardDoesNotEndAJob) {
  Start();
  Add(3600);
  ASSERT_TRUE(Acquire().has_value());
  machine_.Pass(seconds(3));
  machine_.wall += hours(2);
  Start();
  EXPECT_EQ(StateAfterTick(), v1::JOB_STATE_RUNNING);
}

TEST_F(ClockChangeTest, TheLimitStillEndsAJobWhoseClockWasPutBack) {
  Start();
  Add(3600);
  ASSERT_TRUE(Acquire().has_value());
  machine_.Pass(seconds(3500));
  machine_.wall -= hours(2);
  Start();
  EXPECT_EQ(StateAfterTick(), v1::JOB_STATE_RUNNING);
  machine_.Pass(seconds(200));
  Start();
  EXPECT_EQ(StateAfterTick(), v1::JOB_STATE_FAILED);
}

TEST_F(ClockChangeTest, TheTimeWithoutTheMachineDoesNotCount) {
  Start();
  Add(3600);
  ASSERT_TRUE(Acquire().has_value());
  machine_.wall += hours(5);
  machine_.boot = {"second-boot", seconds(30)};
  Start();
  EXPECT_EQ(StateAfterTick(), v1::JOB_STATE_RUNNING);
  machine_.Pass(seconds(3700));
  Start();
  EXPECT_EQ(StateAfterTick(), v1::JOB_STATE_FAILED);
}

TEST_F(ClockChangeTest, ATaskThatWasRunningIsNoSlowerForIt) {
  Start();
  Add(0);
  ASSERT_TRUE(Acquire().has_value());
  machine_.Pass(seconds(5));
  machine_.wall += hours(2);
  Start();
  ASSERT_TRUE(Change([](Turn& turn) {
                EXPECT_EQ(RunningTime(*turn.cluster.jobs().Find("a"), 0, turn.now), seconds(5));
                return absl::OkStatus();
              }).ok());
}

}  // namespace
}  // namespace regroup
