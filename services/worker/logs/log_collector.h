// Collects everything that one attempt says on its way to the coordinator: log lines, metric points, progress.
//
// Thread-safe. The attempt's thread adds lines, the trainer server's threads add metrics and progress, the pusher's
// thread takes. Memory is bounded: when nobody takes, the oldest go first, and the next report says how many went.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "regroup/v1/worker_service.pb.h"
#include "services/worker/attempt_key.h"

namespace regroup {

class LogCollector {
 public:
  /// `worker` stands in each entry.
  LogCollector(AttemptKey attempt, std::string worker, size_t most_lines = 5'000, size_t most_points = 20'000);

  void AddLine(v1::LogEntry entry);
  void AddMetric(v1::MetricPoint point);
  void SetProgress(const v1::Progress& progress);

  /// Returns what came since the last call, about 1 MiB of lines at most; nothing if nothing came.
  std::optional<v1::AttemptReport> Take();

  /// Lines waiting to be taken.
  size_t waiting_lines() const;

  /// Lines dropped since the start.
  int64_t dropped_lines() const;

  /// The last lines as "rank 1: message", oldest first; at most 20.
  std::vector<std::string> Tail() const;

 private:
  void TakeLines(v1::AttemptReport& report);
  v1::LogEntry DropNotice();

  const AttemptKey attempt_;
  const std::string worker_;
  const size_t most_lines_;
  const size_t most_points_;

  mutable std::mutex mutex_;
  std::deque<v1::LogEntry> lines_;
  std::deque<v1::MetricPoint> points_;
  std::optional<v1::Progress> progress_;
  std::deque<std::string> tail_;
  int64_t dropped_lines_ = 0;
  int64_t announced_drops_ = 0;
};

/// The collectors of all attempts of a worker, for as long as somebody holds them. Owned by the worker; thread-safe.
class LogCollectors {
 public:
  /// Returns a new collector, which stays in the list until the caller lets go of it.
  std::shared_ptr<LogCollector> Add(const AttemptKey& attempt, const std::string& worker);

  std::vector<std::shared_ptr<LogCollector>> All() const;
  /// Null if the attempt has none, or none any more.
  std::shared_ptr<LogCollector> Find(const AttemptKey& attempt) const;

 private:
  mutable std::mutex mutex_;
  std::map<AttemptKey, std::weak_ptr<LogCollector>> collectors_;
};

}  // namespace regroup
