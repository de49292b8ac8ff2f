#include "coordinator/schedule/straggler.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/schedule/cluster.h"
#include "services/common/base/error.h"
#include "services/common/base/resource_names.h"
#include "tests/unit/coordinator/builders.h"
#include "tests/unit/coordinator/schedule/cluster_fixture.h"

namespace regroup {
namespace {

using ::testing::HasSubstr;

/// A job of eight layers on two workers: w1, which is slow, and w2. Only the layers remain to be done.
class StragglerTest : public ClusterFixture {
 protected:
  void SetUp() override { Submit(SmallSpec(), 1); }

  /// Submits the job, and lets w2 do what comes before the layers: `inspect` and this many tasks.
  void Submit(v1::JobSpec spec, int tasks_before) {
    Register(w1_);
    Register(w2_);
    spec.clear_evaluation();
    spec.mutable_finetune()->set_method("none");
    Add("a", spec);
    const v1::AttemptId inspect = Ask(w2_).value();
    ASSERT_TRUE(Report(w2_, inspect, InspectSuccess(SmallModel(8))).ok());
    for (int task = 0; task < tasks_before; ++task) ASSERT_TRUE(Report(w2_, Ask(w2_).value(), Success()).ok());
  }

  void Register(FakeWorker& worker) {
    worker.slots = 4;
    (void)cluster_.Register(worker.Registration(), now_);
  }
  std::optional<v1::AttemptId> Ask(FakeWorker& worker) {
    const auto assignment = ClusterFixture::Ask(worker, worker.slots - static_cast<int>(worker.running.size()));
    return assignment ? std::optional(assignment->attempt()) : std::nullopt;
  }
  v1::HeartbeatResponse Beat(const FakeWorker& worker) { return ClusterFixture::Beat(worker).value(); }
  /// Both workers send a heartbeat every second.
  void PassTime(int seconds) {
    for (int second = 0; second < seconds; ++second) {
      now_ += kSecond;
      (void)Beat(w1_);
      (void)Beat(w2_);
      ClusterFixture::PassTime(Duration(0));
    }
  }
  /// Gives one layer to w1, and lets w2 do this many others in ten seconds each.
  void DoLayers(int count) {
    slow_ = Ask(w1_).value();
    for (int layer = 0; layer < count; ++layer) {
      const v1::AttemptId attempt = Ask(w2_).value();
      PassTime(10);
      ASSERT_TRUE(Report(w2_, attempt, Success()).ok());
    }
  }
  /// Finishes all layers but the slow one, so that no task waits and w2 is idle and asks.
  void DoAllLayersButOne() {
    DoLayers(7);
    ASSERT_FALSE(Ask(w2_));
  }
  v1::Task Slow() const {
    for (const v1::Task& task : last_seen_.at("a").job.tasks()) {
      if (LastSegment(task.name()) == slow_.task()) return task;
    }
    return {};
  }

  v1::AttemptId slow_;
};

TEST_F(StragglerTest, IsRareWhereLayersGoToEveryWorkerThatAsks) {
  uint64_t first = ++ticket_;
  ASSERT_TRUE(cluster_.Acquire(w1_.Acquire(4), first, now_).ok());
  uint64_t second = ++ticket_;
  ASSERT_TRUE(cluster_.Acquire(w2_.Acquire(4), second, now_).ok());
  Settle();
  std::set<uint64_t> answered;
  for (const Answer& answer : answers_) {
    EXPECT_EQ(answer.assignment->kind(), v1::TASK_KIND_ALIGN);
    answered.insert(answer.ticket);
  }
  EXPECT_EQ(answered, (std::set<uint64_t>{first, second})) << "the fuller worker gets one layer, not all";
}

TEST_F(StragglerTest, IsATaskThatRunsThreeTimesAsLongAsItsSiblingsDid) {
  DoLayers(3);
  const Job& job = *cluster_.jobs().Find("a");
  const size_t task = job.FindTask(slow_.task()).value();
  EXPECT_EQ(UsualDuration(job, task), 10 * kSecond);
  const Time start = FromProto(job.task(task).start_time());
  EXPECT_FALSE(IsStraggler(job, task, {}, start + 30 * kSecond));
  EXPECT_TRUE(IsStraggler(job, task, {}, start + 31 * kSecond));
  EXPECT_FALSE(IsStraggler(job, task, {.floor = 60 * kSecond}, start + 60 * kSecond));
  EXPECT_FALSE(IsStraggler(job, task, {.factor = 4}, start + 40 * kSecond));
  EXPECT_FALSE(IsStraggler(job, task, {.floor = Duration(0)}, start + 1000 * kSecond));
}

TEST_F(StragglerTest, IsNoneWhereTooFewSiblingsAreDoneOrATaskHasNone) {
  DoLayers(2);
  const Job& job = *cluster_.jobs().Find("a");
  EXPECT_FALSE(UsualDuration(job, job.FindTask(slow_.task()).value()));
  EXPECT_FALSE(UsualDuration(job, job.FindTask("inspect").value()));
}

TEST_F(StragglerTest, MovesToAnIdleWorkerWhenNoProcessOfItIsLeft) {
  DoAllLayersButOne();
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_READY);
  EXPECT_EQ(Slow().failure().failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(Slow().failure().message(), HasSubstr("worker w1 was slow: 70 s, where tasks like this take 10 s"));
  EXPECT_EQ(Slow().infrastructure_failures(), 1);
  EXPECT_EQ(last_seen_.at("a").retries[3].restarts_without_progress, 0);

  const v1::HeartbeatResponse told = Beat(w1_);
  ASSERT_EQ(told.stop_size(), 1);
  EXPECT_EQ(told.stop(0).epoch(), 1);
  // The move waits however long that takes.
  PassTime(20);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_READY);

  EXPECT_EQ(ReasonOf(Report(w1_, slow_, Success())), v1::STALE_EPOCH);
  (void)Beat(w1_);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(Slow().worker(), "workers/w2");
  EXPECT_EQ(Slow().epoch(), 2);
}

TEST_F(StragglerTest, DoesNotGoBackToTheSlowWorkerWhileThereIsAnother) {
  DoAllLayersButOne();
  LetGo(w1_, slow_);
  // Otherwise the fuller worker would be first; w2 briefly does not ask.
  cluster_.StopAsking("w2", ticket_);
  EXPECT_FALSE(Ask(w1_));
  (void)Beat(w1_);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_READY);
  EXPECT_EQ(Ask(w2_)->epoch(), 2);
}

TEST_F(StragglerTest, GoesBackWhereNoOtherWorkerIsLeft) {
  DoAllLayersButOne();
  LetGo(w1_, slow_);
  ASSERT_TRUE(cluster_.SetDraining("w2", true).ok());
  (void)Beat(w1_);
  EXPECT_EQ(Ask(w1_)->epoch(), 2);
}

TEST_F(StragglerTest, MovesOnlyOnce) {
  DoAllLayersButOne();
  LetGo(w1_, slow_);
  (void)Beat(w1_);
  ASSERT_EQ(Slow().worker(), "workers/w2");
  for (const Answer& answer : answers_) w2_.running.push_back(answer.assignment->attempt());
  ASSERT_FALSE(Ask(w1_));
  PassTime(200);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(Slow().epoch(), 2);
}

TEST_F(StragglerTest, StaysWhereItIsWhileSomethingWaitsForASlot) {
  DoLayers(7);
  for (const char* id : {"b", "c"}) cluster_.AddJob(MakeJob(id, SmallSpec(), now_));
  for (int job = 0; job < 2; ++job) {
    ASSERT_EQ(Ask(w2_)->task(), "inspect");
    EXPECT_EQ(Slow().state(), v1::TASK_STATE_RUNNING);
  }
  ASSERT_FALSE(Ask(w2_));
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_READY);
}

TEST_F(StragglerTest, StaysWhereItIsWhileNoOtherWorkerIsFree) {
  w2_.slots = 1;
  (void)cluster_.Register(w2_.Registration(), now_);
  DoLayers(6);
  ASSERT_TRUE(Ask(w2_));
  ASSERT_FALSE(Ask(w1_));
  PassTime(100);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_RUNNING);
}

TEST_F(StragglerTest, IsMovedAgainIfTheMoveCouldNotBeStored) {
  DoLayers(7);
  store_fails_ = true;
  ASSERT_FALSE(Ask(w2_));
  EXPECT_EQ(cluster_.jobs().Find("a")->proto().state(), v1::JOB_STATE_RUNNING);
  store_fails_ = false;
  PassTime(20);
  ASSERT_FALSE(Ask(w2_));
  PassTime(1);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_READY);
}

TEST_F(StragglerTest, WaitsForItsOldProcessAlsoAfterARestartOfTheCoordinator) {
  DoAllLayersButOne();
  Cluster restarted{ClusterOptions{}};
  ASSERT_TRUE(restarted.RestoreJob(last_seen_.at("a"), now_).ok());
  restarted.RestoreWorker(*cluster_.workers().Find("w1"), now_);
  restarted.RestoreWorker(*cluster_.workers().Find("w2"), now_);
  cluster_ = std::move(restarted);
  Register(w2_);
  ASSERT_FALSE(Ask(w2_));
  EXPECT_EQ(cluster_.Register(w1_.Registration(), now_).stop_size(), 1);
  Settle();
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_READY);
  LetGo(w1_, slow_);
  (void)Beat(w1_);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(Slow().worker(), "workers/w2");
}

/// The same, with layers that are trained: what remains to be done are the eight layerwise tasks.
class LayerwiseStragglerTest : public StragglerTest {
 protected:
  void SetUp() override {
    v1::JobSpec spec = SmallSpec();
    spec.mutable_layerwise()->set_method("distill");
    Submit(spec, 10);
  }
};

TEST_F(LayerwiseStragglerTest, MovesToAnIdleWorkerToo) {
  DoAllLayersButOne();
  EXPECT_EQ(Slow().kind(), v1::TASK_KIND_LAYERWISE);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_READY);
  EXPECT_THAT(Slow().failure().message(), HasSubstr("worker w1 was slow: 70 s"));
  LetGo(w1_, slow_);
  (void)Beat(w1_);
  EXPECT_EQ(Slow().state(), v1::TASK_STATE_RUNNING);
  EXPECT_EQ(Slow().worker(), "workers/w2");
}

/// A job whose layers are trained in blocks of three; the last block has two layers.
class BlocksOfLayers : public ::testing::Test {
 protected:
  BlocksOfLayers() {
    Run("inspect", 1, InspectSuccess(SmallModel(14)));
    Run("calibrate", 1);
    // They do not count as siblings: a layer is aligned much faster than it is trained.
    for (int layer = 0; layer < 14; ++layer) Run(fmt::format("align-{:03}", layer), 1);
    Run("record", 1);
  }

  static Job MakeBlocks() {
    v1::JobSpec spec = SmallSpec();
    spec.mutable_layerwise()->set_method("distill");
    spec.mutable_layerwise()->set_layers_per_task(3);
    return MakeJob("a", spec);
  }
  size_t Start(const std::string& task) {
    const size_t position = job_.FindTask(task).value();
    job_.Start(position, "w1", start_);
    return position;
  }
  /// Runs a task that takes this many seconds.
  void Run(const std::string& task, int seconds, const v1::TaskOutcome& outcome = Success()) {
    job_.Finish(Start(task), outcome, {}, start_ + seconds * kSecond);
  }

  Time start_{std::chrono::seconds(1000)};
  Job job_ = MakeBlocks();
};

TEST_F(BlocksOfLayers, GiveAShorterBlockLessTime) {
  Run("layerwise-000", 30);
  Run("layerwise-003", 33);
  const size_t shorter = Start("layerwise-012");
  EXPECT_FALSE(UsualDuration(job_, shorter)) << "two siblings are too few";
  Run("layerwise-006", 36);
  EXPECT_EQ(UsualDuration(job_, shorter), 22 * kSecond);
  EXPECT_FALSE(IsStraggler(job_, shorter, {}, start_ + 66 * kSecond));
  EXPECT_TRUE(IsStraggler(job_, shorter, {}, start_ + 67 * kSecond));
  EXPECT_EQ(UsualDuration(job_, Start("layerwise-009")), 33 * kSecond);
}

TEST_F(BlocksOfLayers, CountAShorterBlockByTheTimeOfItsLayers) {
  Run("layerwise-000", 30);
  Run("layerwise-003", 39);
  Run("layerwise-012", 24);
  const size_t running = Start("layerwise-006");
  EXPECT_EQ(UsualDuration(job_, running), 36 * kSecond) << "the median layer took 12 s, in the shorter block";
}

}  // namespace
}  // namespace regroup
