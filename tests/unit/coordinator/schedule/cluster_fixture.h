// Two workers and a cluster with a clock, for tests that simulate the workers' messages.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/schedule/cluster.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {

constexpr Duration kSecond = std::chrono::seconds(1);

/// Each step places tasks and commits, as the core thread does.
class ClusterFixture : public ::testing::Test {
 protected:
  void Add(const std::string& id, const v1::JobSpec& spec = SmallSpec(), const std::string& owner = "") {
    cluster_.AddJob(MakeJob(id, spec, now_, owner));
    Settle();
  }
  absl::StatusOr<v1::HeartbeatResponse> Beat(const FakeWorker& worker) {
    absl::StatusOr<v1::HeartbeatResponse> response = cluster_.Heartbeat(worker.Heartbeat(), now_);
    Settle();
    return response;
  }
  /// Returns the task that the worker gets now, if any; the worker lists it from then on. By default all of the
  /// worker's slots are free.
  std::optional<v1::TaskAssignment> Ask(FakeWorker& worker, int free_slots = -1) {
    EXPECT_TRUE(cluster_.Acquire(worker.Acquire(free_slots < 0 ? worker.slots : free_slots), ++ticket_, now_).ok());
    Settle();
    for (const Answer& answer : answers_) {
      if (answer.ticket != ticket_ || !answer.assignment) continue;
      worker.running.push_back(answer.assignment->attempt());
      return answer.assignment;
    }
    return std::nullopt;
  }
  absl::Status Report(FakeWorker& worker, const v1::AttemptId& attempt, const v1::TaskOutcome& outcome = Success()) {
    absl::Status status = cluster_.Report(worker.Report(attempt, outcome), now_);
    LetGo(worker, attempt);
    Settle();
    return status;
  }
  /// Makes the worker no longer list the attempt.
  static void LetGo(FakeWorker& worker, const v1::AttemptId& attempt) {
    std::erase_if(worker.running, [&](const v1::AttemptId& other) { return other.task() == attempt.task(); });
  }
  void PassTime(Duration time) {
    now_ += time;
    cluster_.Tick(now_);
    Settle();
  }
  void Settle() {
    cluster_.PlaceTasks(now_);
    Effects effects = cluster_.TakeEffects();
    for (const auto& [id, before] : effects.jobs()) last_seen_[id] = cluster_.jobs().Find(id)->record();
    answers_ = store_fails_ ? std::move(effects).NotStored() : std::move(effects).Stored();
  }

  Time now_{std::chrono::seconds(5000)};
  Cluster cluster_{ClusterOptions{}};
  uint64_t ticket_ = 0;
  std::vector<Answer> answers_;
  std::map<std::string, JobRecord> last_seen_;
  bool store_fails_ = false;
  FakeWorker w1_{"w1"};
  FakeWorker w2_{"w2"};
};

}  // namespace regroup
