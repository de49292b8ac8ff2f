// The fixture of tests of a whole worker: a coordinator, a working folder, a worker inside the test's process, and
// assignments for the fake trainer.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "services/worker/attempt_key.h"
#include "services/worker/worker.h"
#include "tests/unit/services/worker/fake_coordinator.h"
#include "tests/unit/services/worker/temporary_folder.h"

namespace regroup {

using Labels = std::map<std::string, std::string>;

class WorkerFixture : public testing::Test {
 protected:
  explicit WorkerFixture(std::chrono::milliseconds lease = std::chrono::seconds(60));

  void StartWorker();
  void StopWorker() { worker_.reset(); }

  /// Returns epoch 1 of task `task` of job "demo", for the fake trainer.
  static v1::TaskAssignment MakeAssignment(const std::string& task, const std::string& behaviour, int ranks = 1,
                                           const Labels& labels = {});
  /// Gives the assignment to the coordinator.
  AttemptKey Assign(const v1::TaskAssignment& assignment);
  AttemptKey Assign(const std::string& task, const std::string& behaviour, int ranks = 1, const Labels& labels = {});
  /// Assigns a task and waits for its outcome.
  v1::TaskOutcome RunTask(const std::string& task, const std::string& behaviour, int ranks = 1,
                          const Labels& labels = {});

  /// Returns the path of a file of the attempt's results.
  std::filesystem::path Out(const AttemptKey& key, const std::string& name) const;
  /// Returns the number in such a file, once it exists.
  pid_t WaitForPid(const AttemptKey& key, const std::string& name) const;
  void WaitForFile(const std::filesystem::path& file) const;
  void WaitFor(const std::function<bool()>& condition, const std::string& what) const;
  void Touch(const std::filesystem::path& file) const;

  /// Returns the processes that carry this worker's marker.
  std::vector<pid_t> Alive() const;

  TemporaryFolder folder_;
  /// The folder in which workers create their sockets.
  const std::filesystem::path runtime_base_ = folder_.path() / "run";
  FakeCoordinator coordinator_;
  WorkerOptions options_;
  std::unique_ptr<Worker> worker_;
};

}  // namespace regroup
