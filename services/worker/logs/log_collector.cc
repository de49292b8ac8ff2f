#include "services/worker/logs/log_collector.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <utility>

namespace regroup {
namespace {

constexpr size_t kTailLines = 20;
/// Bytes of lines, and of points, in one report; the coordinator takes 4 MiB (coordinator/api/served_calls.cc).
constexpr size_t kMostBytes = 1 << 20;

}  // namespace

LogCollector::LogCollector(AttemptKey attempt, std::string worker, size_t most_lines, size_t most_points)
    : attempt_(std::move(attempt)), worker_(std::move(worker)), most_lines_(most_lines), most_points_(most_points) {}

void LogCollector::AddLine(v1::LogEntry entry) {
  entry.set_task(attempt_.task);
  entry.set_epoch(attempt_.epoch);
  entry.set_worker(worker_);
  const std::lock_guard lock(mutex_);
  tail_.push_back(fmt::format("rank {}: {}", entry.rank(), entry.message()));
  if (tail_.size() > kTailLines) tail_.pop_front();
  lines_.push_back(std::move(entry));
  if (lines_.size() > most_lines_) {
    lines_.pop_front();
    ++dropped_lines_;
  }
}

void LogCollector::AddMetric(v1::MetricPoint point) {
  point.set_task(attempt_.task);
  point.set_epoch(attempt_.epoch);
  const std::lock_guard lock(mutex_);
  points_.push_back(std::move(point));
  if (points_.size() > most_points_) points_.pop_front();
}

void LogCollector::SetProgress(const v1::Progress& progress) {
  const std::lock_guard lock(mutex_);
  progress_ = progress;
}

std::optional<v1::AttemptReport> LogCollector::Take() {
  const std::lock_guard lock(mutex_);
  if (lines_.empty() && points_.empty() && !progress_) return std::nullopt;
  v1::AttemptReport report;
  *report.mutable_attempt() = ToProto(attempt_);
  TakeLines(report);
  TakePoints(report);
  if (progress_) *report.mutable_progress() = *std::exchange(progress_, std::nullopt);
  return report;
}

void LogCollector::TakeLines(v1::AttemptReport& report) {
  if (dropped_lines_ > announced_drops_) *report.add_logs() = DropNotice();
  for (size_t bytes = 0; bytes < kMostBytes && !lines_.empty();) {
    bytes += lines_.front().message().size() + lines_.front().worker().size() + lines_.front().task().size();
    *report.add_logs() = std::move(lines_.front());
    lines_.pop_front();
  }
}

void LogCollector::TakePoints(v1::AttemptReport& report) {
  for (size_t bytes = 0; bytes < kMostBytes && !points_.empty();) {
    bytes += points_.front().ByteSizeLong();
    *report.add_metrics() = std::move(points_.front());
    points_.pop_front();
  }
}

v1::LogEntry LogCollector::DropNotice() {
  v1::LogEntry notice;
  *notice.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  notice.set_severity(v1::LOG_SEVERITY_WARNING);
  notice.set_task(attempt_.task);
  notice.set_epoch(attempt_.epoch);
  notice.set_worker(worker_);
  notice.set_message(fmt::format("{} log lines were dropped because they came faster than they could be sent",
                                 dropped_lines_ - announced_drops_));
  announced_drops_ = dropped_lines_;
  return notice;
}

size_t LogCollector::waiting_lines() const {
  const std::lock_guard lock(mutex_);
  return lines_.size();
}

int64_t LogCollector::dropped_lines() const {
  const std::lock_guard lock(mutex_);
  return dropped_lines_;
}

std::vector<std::string> LogCollector::Tail() const {
  const std::lock_guard lock(mutex_);
  return {tail_.begin(), tail_.end()};
}

std::shared_ptr<LogCollector> LogCollectors::Add(const AttemptKey& attempt, const std::string& worker) {
  auto collector = std::make_shared<LogCollector>(attempt, worker);
  const std::lock_guard lock(mutex_);
  std::erase_if(collectors_, [](const auto& entry) { return entry.second.expired(); });
  collectors_[attempt] = collector;
  return collector;
}

std::vector<std::shared_ptr<LogCollector>> LogCollectors::All() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<LogCollector>> all;
  for (const auto& [attempt, held] : collectors_) {
    if (std::shared_ptr<LogCollector> collector = held.lock()) all.push_back(std::move(collector));
  }
  return all;
}

std::shared_ptr<LogCollector> LogCollectors::Find(const AttemptKey& attempt) const {
  const std::lock_guard lock(mutex_);
  const auto found = collectors_.find(attempt);
  return found == collectors_.end() ? nullptr : found->second.lock();
}

}  // namespace regroup
