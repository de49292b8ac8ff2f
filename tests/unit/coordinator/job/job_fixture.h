// Drives a job by hand.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/job/job.h"
#include "tests/unit/coordinator/builders.h"

namespace regroup {

class JobFixture : public ::testing::Test {
 protected:
  /// Every action takes `tick`.
  explicit JobFixture(Duration tick) : tick_(tick) {}

  size_t Position(const std::string& task) const { return job_.FindTask(task).value(); }
  v1::TaskState State(const std::string& task) const { return job_.task(Position(task)).state(); }
  int64_t Start(const std::string& task) { return job_.Start(Position(task), "w1", now_ += tick_); }
  void Finish(const std::string& task, const v1::TaskOutcome& outcome = Success(), const Reached& reached = {}) {
    job_.Finish(Position(task), outcome, reached, now_ += tick_);
  }
  void Run(const std::string& task, const v1::TaskOutcome& outcome = Success()) {
    Start(task);
    Finish(task, outcome);
  }
  void RunUntilTraining() {
    Run("inspect", InspectSuccess());
    for (const char* task : {"calibrate", "align-000", "align-001"}) Run(task);
  }
  std::vector<std::string> Ready() const {
    std::vector<std::string> ready;
    for (const size_t task : job_.ReadyTasks(now_)) ready.push_back(job_.graph().tasks[task].id);
    return ready;
  }

  const Duration tick_;
  Time now_{std::chrono::seconds(1000)};
  Job job_ = MakeJob("small-1", SmallSpec(), now_);
};

}  // namespace regroup
