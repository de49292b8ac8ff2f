#include "services/cli/follow_job.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "services/cli/job_mirror.h"
#include "services/cli/printable.h"
#include "services/cli/stage_summary.h"
#include "services/common/base/final_states.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/stream_opening.h"

namespace regroup {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::milliseconds kTurn{100};
constexpr std::chrono::milliseconds kPauseBeforeAnotherTry{500};

double Now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// Reads the event stream on its own thread and queues what arrives.
class EventReader {
 public:
  EventReader(const Client& client, std::string job_name, std::chrono::seconds patience)
      : client_(client), job_name_(std::move(job_name)), patience_(patience), thread_([this] { Run(); }) {}

  ~EventReader() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      if (context_ != nullptr) context_->TryCancel();
      changed_.notify_all();
    }
    thread_.join();
  }

  EventReader(const EventReader&) = delete;
  EventReader& operator=(const EventReader&) = delete;

  struct Received {
    v1::JobEvent event;
    bool has_whole_job = false;
  };

  struct Batch {
    std::deque<Received> events;
    /// True once no more events will come.
    bool ended = false;
    absl::Status status;
  };

  /// Returns the events since the last call; waits for one turn at most.
  Batch Take() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kTurn, [this] { return !events_.empty() || ended_; });
    Batch batch{std::move(events_), ended_, status_};
    events_.clear();
    return batch;
  }

 private:
  void Run() {
    absl::Status status = ReadUntilFinal();
    const std::lock_guard lock(mutex_);
    ended_ = true;
    status_ = std::move(status);
    changed_.notify_all();
  }

  absl::Status ReadUntilFinal() {
    while (true) {
      const absl::Status status = ReadOnce();
      if (Stopping() || final_) return absl::OkStatus();
      if (absl::IsOutOfRange(status)) {
        resume_token_.clear();
      } else if (!status.ok() && !absl::IsUnavailable(status)) {
        return status;
      } else if (Clock::now() - last_heard_ > patience_) {
        return status.ok() ? absl::UnavailableError("the coordinator ended the stream of events") : status;
      }
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kPauseBeforeAnotherTry, [this] { return stopping_; });
    }
  }

  absl::Status ReadOnce() {
    grpc::ClientContext context;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return absl::OkStatus();
      context_ = &context;
    }
    v1::WatchJobRequest request;
    request.set_name(job_name_);
    request.set_resume_token(resume_token_);
    // Only a stream without a token starts with the whole job.
    bool whole_job = resume_token_.empty();
    absl::Status status = client_.Read<v1::WatchJobRequest, v1::JobEvent>(
        &Client::JobStub::WatchJob, context, request, [&](const v1::JobEvent& event) {
          Receive(event, std::exchange(whole_job, false));
          return true;
        });
    // A stream that was open until now counts as heard, however long it was silent.
    if (context.GetServerInitialMetadata().contains(kStreamOpeningKey)) last_heard_ = Clock::now();
    const std::lock_guard lock(mutex_);
    context_ = nullptr;
    return status;
  }

  void Receive(v1::JobEvent event, bool has_whole_job) {
    last_heard_ = Clock::now();
    if (!event.resume_token().empty()) resume_token_ = event.resume_token();
    final_ = IsFinalState(event.job().state());
    const std::lock_guard lock(mutex_);
    events_.push_back({std::move(event), has_whole_job});
    changed_.notify_all();
  }

  bool Stopping() {
    const std::lock_guard lock(mutex_);
    return stopping_;
  }

  const Client& client_;
  const std::string job_name_;
  const std::chrono::seconds patience_;

  // Used by the reading thread only.
  std::string resume_token_;
  Clock::time_point last_heard_ = Clock::now();
  bool final_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Received> events_;
  grpc::ClientContext* context_ = nullptr;
  bool stopping_ = false;
  bool ended_ = false;
  absl::Status status_;

  std::thread thread_;  // Last: starts when everything else is ready.
};

}  // namespace

absl::StatusOr<v1::Job> FollowJob(const Client& client, const std::string& job_name, ProgressView& view,
                                  const FollowOptions& options) {
  EventReader reader(client, job_name, options.patience);
  JobMirror mirror;
  while (true) {
    const EventReader::Batch batch = reader.Take();
    for (const auto& [event, has_whole_job] : batch.events) {
      if (has_whole_job) mirror.ExpectWholeJob();
      mirror.Apply(event);
      if (options.on_event) options.on_event(event);
    }
    if (!mirror.job().name().empty()) view.Show(Printable(mirror.job()), Now());
    if (IsFinalState(mirror.job().state())) return mirror.job();
    if (batch.ended) return batch.status.ok() ? absl::UnavailableError("the stream of events ended") : batch.status;
    if (options.on_turn) REGROUP_RETURN_IF_ERROR(options.on_turn(mirror.job()));
  }
}

}  // namespace regroup
