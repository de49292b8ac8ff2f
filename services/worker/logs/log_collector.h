// Buffers what one attempt reports to the coordinator: log lines, metric points, progress.
//
// Thread-safe. The attempt's thread adds lines, the trainer server's threads add metrics and progress, the pusher's
// thread takes. Memory is bounded: if nobody takes the entries, the oldest are dropped, and the next report says how
// many.
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
  /// `worker` is written into each entry.
  LogCollector(AttemptKey attempt, std::string worker, size_t most_lines = 5'000, size_t most_points = 20'000);

  void AddLine(v1::LogEntry entry);
  void AddMetric(v1::MetricPoint point);
  void SetProgress(const v1::Progress& progress);

  /// Returns what was added since the last call, about 1 MiB of lines and 1 MiB of points at most; nothing if nothing
  /// was added.
  std::optional<v1::AttemptReport> Take();

  /// Returns the number of lines that wait to be taken.
  size_t waiting_lines() const;

  /// Returns the number of lines dropped since the start.
  int64_t dropped_lines() const;

  /// Returns the last lines as "rank 1: message", oldest first; at most 20.
  std::vector<std::string> Tail() const;

 private:
  void TakeLines(v1::AttemptReport& report);
  void TakePoints(v1::AttemptReport& report);
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

/// Finds the collector of each attempt of a worker, for as long as somebody holds it. Owned by the worker; thread-safe.
class LogCollectors {
 public:
  /// Returns a new collector, which stays in the list until the caller releases it.
  std::shared_ptr<LogCollector> Add(const AttemptKey& attempt, const std::string& worker);

  std::vector<std::shared_ptr<LogCollector>> All() const;
  /// Returns null if the attempt has no collector, or no longer has one.
  std::shared_ptr<LogCollector> Find(const AttemptKey& attempt) const;

 private:
  mutable std::mutex mutex_;
  std::map<AttemptKey, std::weak_ptr<LogCollector>> collectors_;
};

}  // namespace regroup
