#include "coordinator/api/job_streams.h"

#include <deque>

#include "services/common/base/final_states.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr size_t kEventsPerRead = 16;

class JobEventSource : public StreamSource<v1::JobEvent> {
 public:
  JobEventSource(JobStore* store, const JobFeeds* feeds, std::string job, std::optional<int64_t> after_revision)
      : store_(store), feeds_(feeds), job_(std::move(job)), revision_(after_revision) {}

  absl::StatusOr<Next> Read(v1::JobEvent* event) override {
    if (!revision_) return ReadWholeJob(event);
    if (ahead_.empty()) REGROUP_RETURN_IF_ERROR(ReadAhead());
    if (!ahead_.empty()) return SendAhead(event);
    if (is_final_) return Next::kEnd;
    // No further event is stored; the job may still have advanced past events that are no longer kept.
    REGROUP_ASSIGN_OR_RETURN(const JobRecord record, store_->GetJob(job_));
    if (record.job.revision() != *revision_) return ReadAfterGap(event);
    if (IsFinalState(record.job.state())) return Next::kEnd;
    return ReadProgress(event);
  }

 private:
  absl::StatusOr<Next> ReadWholeJob(v1::JobEvent* event) {
    REGROUP_ASSIGN_OR_RETURN(JobRecord record, store_->GetJob(job_));
    *event->mutable_job() = std::move(record.job);
    revision_ = event->job().revision();
    event->set_resume_token(ResumeToken(*revision_));
    is_final_ = IsFinalState(event->job().state());
    return Next::kMessage;
  }

  absl::StatusOr<Next> ReadAfterGap(v1::JobEvent* event) {
    // A change may have been stored since the last read.
    REGROUP_RETURN_IF_ERROR(ReadAhead());
    if (!ahead_.empty()) return SendAhead(event);
    event->set_gap(true);
    return ReadWholeJob(event);
  }

  absl::Status ReadAhead() {
    REGROUP_ASSIGN_OR_RETURN(auto events, store_->ReadEvents(job_, *revision_, kEventsPerRead));
    ahead_.assign(std::make_move_iterator(events.begin()), std::make_move_iterator(events.end()));
    return absl::OkStatus();
  }

  Next SendAhead(v1::JobEvent* event) {
    *event = std::move(ahead_.front());
    ahead_.pop_front();
    revision_ = event->job().revision();
    is_final_ = IsFinalState(event->job().state());
    return Next::kMessage;
  }

  absl::StatusOr<Next> ReadProgress(v1::JobEvent* event) {
    const JobFeeds::Live live = feeds_->Latest(job_);
    if (live.version == sent_version_ || live.job.revision() != *revision_) return Next::kNothingYet;
    sent_version_ = live.version;
    *event->mutable_job() = WithoutTasks(live.job);
    for (const v1::Task& task : live.job.tasks()) {
      if (task.has_progress()) *event->mutable_job()->add_tasks() = task;
    }
    event->set_resume_token(ResumeToken(*revision_));
    event->set_progress_only(true);
    return Next::kMessage;
  }

  JobStore* const store_;
  const JobFeeds* const feeds_;
  const std::string job_;
  /// Revision of the last event sent; none before the first.
  std::optional<int64_t> revision_;
  std::deque<v1::JobEvent> ahead_;
  int64_t sent_version_ = 0;
  bool is_final_ = false;
};

/// Sends pages of numbered messages until there are no more, or, when following, until the job is final.
template <typename Message, typename Query>
class PagedSource : public StreamSource<Message> {
 public:
  PagedSource(JobStore* store, Query query, bool follow) : store_(store), query_(std::move(query)), follow_(follow) {}

  absl::StatusOr<Next> Read(Message* message) override {
    if (!has_started_) REGROUP_RETURN_IF_ERROR(Start(store_, &query_));
    has_started_ = true;
    if (page_.empty()) REGROUP_RETURN_IF_ERROR(ReadPage());
    if (page_.empty()) return is_final_ || !follow_ ? Next::kEnd : Next::kNothingYet;
    *message = std::move(page_.front().message);
    page_.pop_front();
    return Next::kMessage;
  }

 protected:
  virtual absl::Status Start(JobStore* store, Query* query) { return absl::OkStatus(); }
  virtual absl::StatusOr<std::vector<Numbered<Message>>> ReadNext(JobStore* store, const Query& query) = 0;

 private:
  absl::Status ReadPage() {
    // Read the state first: everything that a final job wrote is stored by then.
    REGROUP_ASSIGN_OR_RETURN(const JobRecord record, store_->GetJob(query_.job));
    is_final_ = IsFinalState(record.job.state());
    REGROUP_ASSIGN_OR_RETURN(auto page, ReadNext(store_, query_));
    if (!page.empty()) query_.after = page.back().number;
    page_.assign(std::make_move_iterator(page.begin()), std::make_move_iterator(page.end()));
    return absl::OkStatus();
  }

  JobStore* const store_;
  Query query_;
  const bool follow_;
  bool has_started_ = false;
  bool is_final_ = false;
  std::deque<Numbered<Message>> page_;
};

class LogSource : public PagedSource<v1::LogEntry, LogQuery> {
 public:
  LogSource(JobStore* store, const LogQuery& query, int tail_lines, bool follow)
      : PagedSource(store, query, follow), tail_lines_(tail_lines) {}

 protected:
  absl::Status Start(JobStore* store, LogQuery* query) override {
    if (tail_lines_ <= 0) return absl::OkStatus();
    REGROUP_ASSIGN_OR_RETURN(query->after, store->StartOfLogTail(*query, tail_lines_));
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<Numbered<v1::LogEntry>>> ReadNext(JobStore* store, const LogQuery& query) override {
    return store->ReadLogs(query);
  }

 private:
  const int tail_lines_;
};

class MetricSource : public PagedSource<v1::MetricPoint, MetricQuery> {
 public:
  using PagedSource::PagedSource;

 protected:
  absl::StatusOr<std::vector<Numbered<v1::MetricPoint>>> ReadNext(JobStore* store, const MetricQuery& query) override {
    return store->ReadMetrics(query);
  }
};

}  // namespace

std::unique_ptr<StreamSource<v1::JobEvent>> MakeJobEventSource(JobStore* store, const JobFeeds* feeds, std::string job,
                                                               std::optional<int64_t> after_revision) {
  return std::make_unique<JobEventSource>(store, feeds, std::move(job), after_revision);
}

std::unique_ptr<StreamSource<v1::LogEntry>> MakeLogSource(JobStore* store, const LogQuery& query, int tail_lines,
                                                          bool follow) {
  return std::make_unique<LogSource>(store, query, tail_lines, follow);
}

std::unique_ptr<StreamSource<v1::MetricPoint>> MakeMetricSource(JobStore* store, const MetricQuery& query,
                                                                bool follow) {
  return std::make_unique<MetricSource>(store, query, follow);
}

}  // namespace regroup
