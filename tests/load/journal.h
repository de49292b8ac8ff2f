// Records what the coordinator has promised so far: every positive answer that a caller received. Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "regroup/v1/worker_service.pb.h"

namespace regroup {

/// The promises, as a value.
struct Promises {
  /// Job by request id.
  std::map<std::string, std::string> jobs;
  /// Attempts whose success was acknowledged: {job id, task id} and the epoch.
  std::map<std::pair<std::string, std::string>, int64_t> successes;
  /// Jobs, by their ids, that may publish.
  std::set<std::string> published;
  /// Jobs, by their ids, whose cancellation was acknowledged.
  std::set<std::string> cancelled;
  /// Answers that were wrong in themselves.
  std::vector<std::string> violations;
};

class Journal {
 public:
  void Submitted(const std::string& request_id, const std::string& job) {
    const std::lock_guard lock(mutex_);
    const auto [known, is_new] = promises_.jobs.emplace(request_id, job);
    if (known->second != job) Note(request_id + " created two jobs, " + known->second + " and " + job);
  }
  void Succeeded(const v1::AttemptId& attempt) {
    const std::lock_guard lock(mutex_);
    const auto [known, is_new] =
        promises_.successes.emplace(std::make_pair(attempt.job(), attempt.task()), attempt.epoch());
    if (known->second != attempt.epoch())
      Note("two results of " + attempt.job() + "/" + attempt.task() + " were accepted");
  }
  void MayPublish(const std::string& job) {
    const std::lock_guard lock(mutex_);
    promises_.published.insert(job);
  }
  void Cancelled(const std::string& job) {
    const std::lock_guard lock(mutex_);
    promises_.cancelled.insert(job);
  }
  void Violated(const std::string& what) {
    const std::lock_guard lock(mutex_);
    Note(what);
  }

  Promises promises() const {
    const std::lock_guard lock(mutex_);
    return promises_;
  }

 private:
  void Note(const std::string& what) { promises_.violations.push_back(what); }

  mutable std::mutex mutex_;
  Promises promises_;
};

}  // namespace regroup
