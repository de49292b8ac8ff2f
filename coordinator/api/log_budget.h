// Bounds how much log each job may store, so that no job fills the disk of the coordinator's state.
//
// Lines below ERROR are stored up to the bound, errors up to a sixteenth more, so that they tell why a job fails
// whatever else it printed. One line says that the bound is reached, and one after each task how many lines were left
// out since. Used by the core thread alone. What is stored is counted by the store, so that a restart grants nothing.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "coordinator/core/core.h"
#include "regroup/v1/worker_service.pb.h"

namespace regroup {

class LogBudget {
 public:
  /// `bytes` may be stored of each job.
  explicit LogBudget(int64_t bytes) : bytes_(bytes) {}

  /// Adds the lines of a report, complete with task, epoch and worker, to the changes of the turn, as far as the job
  /// has room. Returns the number of lines left out.
  size_t Add(const v1::AttemptReport& report, const std::string& worker, Turn& turn);

  /// Adds a line that says how many lines of the attempt's job were left out since the last such line, if any were.
  void Conclude(const v1::AttemptId& attempt, const std::string& worker, Turn& turn);

 private:
  struct Account {
    int64_t stored_bytes = 0;
    int64_t left_out = 0;
    bool is_announced = false;
  };

  /// Returns null if the store cannot tell how much is stored.
  Account* Find(const std::string& job, Turn& turn);
  bool HasRoom(const Account& account, v1::LogSeverity severity, int64_t bytes) const;
  void Say(const std::string& message, const v1::AttemptId& attempt, const std::string& worker, Turn& turn) const;

  const int64_t bytes_;
  std::map<std::string, Account> accounts_;
};

}  // namespace regroup
