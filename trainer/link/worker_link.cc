#include "trainer/link/worker_link.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "google/protobuf/util/time_util.h"
#include "regroup/v1/trainer_service.grpc.pb.h"
#include "services/common/base/hardware_names.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"

namespace regroup {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kReportInterval = 500ms;
/// Time to wait for the worker, unless its lease ends earlier.
constexpr auto kPatience = 10s;
constexpr Clock::duration kCallPatience = 5s;
constexpr Clock::duration kShortestCallPatience = 100ms;
constexpr int kExitWorkerGone = 70;

}  // namespace

struct WorkerLink::Client {
  explicit Client(const std::string& socket, std::string secret)
      : stub(v1::TrainerService::NewStub(grpc::CreateChannel("unix:" + socket, grpc::InsecureChannelCredentials()))),
        token(std::move(secret)) {}

  void Prepare(grpc::ClientContext& context, Clock::duration patience = kCallPatience) const {
    context.AddMetadata("regroup-attempt-token", token);
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::duration_cast<std::chrono::milliseconds>(patience));
  }

  std::unique_ptr<v1::TrainerService::Stub> stub;
  std::string token;
};

WorkerLink::WorkerLink(const v1::AttemptId& attempt, int rank) : attempt_(attempt), rank_(rank) {}

absl::StatusOr<std::unique_ptr<WorkerLink>> WorkerLink::Connect(const v1::AttemptId& attempt, int rank,
                                                                int world_size) {
  std::unique_ptr<WorkerLink> link(new WorkerLink(attempt, rank));
  const char* socket = std::getenv("REGROUP_WORKER_SOCKET");
  if (socket != nullptr) {
    const char* token = std::getenv("REGROUP_ATTEMPT_TOKEN");
    link->client_ = std::make_unique<Client>(socket, token == nullptr ? "" : token);
    v1::AttestRequest request;
    *request.mutable_attempt() = attempt;
    request.set_rank(rank);
    request.set_world_size(world_size);
    request.set_process_id(getpid());
    request.set_host(HostName());
    grpc::ClientContext context;
    link->client_->Prepare(context);
    v1::AttestResponse response;
    REGROUP_RETURN_IF_ERROR(FromGrpc(link->client_->stub->Attest(&context, request, &response)));
  }
  link->reporter_ = std::thread([raw = link.get()] { raw->ReportLoop(); });
  return link;
}

WorkerLink::~WorkerLink() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (reporter_.joinable()) reporter_.join();
}

std::optional<double> WorkerLink::RemainingSeconds(std::string_view phase, int64_t done, int64_t total) {
  constexpr double kShortestEvidence = 1;
  const auto now = std::chrono::steady_clock::now();
  if (phase_start_.phase != phase || done < phase_start_.done) phase_start_ = {std::string(phase), done, now};
  const double seconds = std::chrono::duration<double>(now - phase_start_.time).count();
  const int64_t own = done - phase_start_.done;
  if (own <= 0 || total <= done || seconds < kShortestEvidence) return std::nullopt;
  return seconds / static_cast<double>(own) * static_cast<double>(total - done);
}

std::string WorkerLink::phase() {
  const std::lock_guard lock(mutex_);
  return progress_.phase();
}

void WorkerLink::SetProgress(std::string_view phase, int64_t done, int64_t total) {
  std::lock_guard lock(mutex_);
  progress_.clear_remaining();
  if (const auto seconds = RemainingSeconds(phase, done, total)) {
    *progress_.mutable_remaining() = google::protobuf::util::TimeUtil::SecondsToDuration(std::llround(*seconds));
  }
  progress_.set_phase(std::string(phase));
  progress_.set_done(done);
  progress_.set_total(total);
  progress_changed_ = true;
  activity_.SetPhase(std::string(phase));
}

void WorkerLink::AddMetrics(int64_t step, std::initializer_list<std::pair<std::string_view, double>> values) {
  {
    const std::lock_guard observing(observer_mutex_);
    if (observer_ != nullptr) observer_->AddValues(step, values);
  }
  const auto now = google::protobuf::util::TimeUtil::GetCurrentTime();
  std::lock_guard lock(mutex_);
  for (const auto& [name, value] : values) {
    v1::MetricPoint& point = metrics_.emplace_back();
    point.set_metric(std::string(name));
    point.set_step(step);
    point.set_value(value);
    *point.mutable_time() = now;
    (*progress_.mutable_metrics())[std::string(name)] = value;
  }
  progress_changed_ = true;
  if (!record_.is_open()) return;
  nlohmann::ordered_json line = {{"step", step}};
  for (const auto& [name, value] : values) line[std::string(name)] = value;
  record_ << line.dump() << std::endl;
}

void WorkerLink::RecordMetrics(const std::filesystem::path& file) {
  std::lock_guard lock(mutex_);
  record_.open(file, std::ios::app);
}

void WorkerLink::AddHistogram(int64_t step, std::string_view name, std::span<const double> values) {
  const std::lock_guard observing(observer_mutex_);
  if (observer_ != nullptr) observer_->AddHistogram(step, name, values);
}

void WorkerLink::ContinueAfter(int64_t step) {
  const std::lock_guard observing(observer_mutex_);
  if (observer_ != nullptr) observer_->ContinueAfter(step);
}

void WorkerLink::ObserveMetrics(std::unique_ptr<MetricObserver> observer) {
  const std::lock_guard observing(observer_mutex_);
  observer_ = std::move(observer);
}

v1::ReportRequest WorkerLink::TakeReport() {
  v1::ReportRequest request;
  *request.mutable_attempt() = attempt_;
  request.set_rank(rank_);
  const ActivityBoard::Snapshot now = activity_.Read();
  request.mutable_activity()->set_step(now.step);
  request.mutable_activity()->set_phase(now.background.empty() ? now.phase : now.phase + ", while " + now.background);
  request.mutable_activity()->set_collective(now.collective.empty() ? now.gpu_collective : now.collective);
  request.mutable_activity()->set_ticks(now.ticks);
  std::lock_guard lock(mutex_);
  if (rank_ == 0 && progress_changed_) *request.mutable_progress() = progress_;
  progress_changed_ = false;
  if (rank_ == 0) {
    for (v1::MetricPoint& point : metrics_) *request.add_metrics() = std::move(point);
  }
  metrics_.clear();
  return request;
}

absl::Status WorkerLink::Send(const v1::ReportRequest& request, Clock::duration patience) {
  if (client_ == nullptr) {
    if (request.has_progress()) std::fprintf(stderr, "%s\n", request.progress().ShortDebugString().c_str());
    return absl::OkStatus();
  }
  grpc::ClientContext context;
  client_->Prepare(context, patience);
  v1::ReportResponse response;
  const Clock::time_point sent = Clock::now();
  REGROUP_RETURN_IF_ERROR(FromGrpc(client_->stub->Report(&context, request, &response)));
  give_up_ = sent + kPatience;
  if (response.has_lease()) {
    const std::chrono::milliseconds lease(google::protobuf::util::TimeUtil::DurationToMilliseconds(response.lease()));
    give_up_ = std::min(give_up_, sent + lease);
  }
  if (response.pause()) pausing_ = true;
  if (response.stop()) {
    LogInfo("the worker ended this attempt", {{"rank", rank_}});
    _exit(kExitWorkerGone);
  }
  return absl::OkStatus();
}

void WorkerLink::ReportLoop() {
  give_up_ = Clock::now() + kPatience;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    // A live worker answers at once, even just before its lease ends.
    const absl::Status status =
        Send(TakeReport(), std::clamp(give_up_ - Clock::now(), kShortestCallPatience, kCallPatience));
    if (!status.ok() && Clock::now() >= give_up_) {
      LogError("the worker is gone; this rank exits", {{"rank", rank_}, {"error", std::string(status.message())}});
      _exit(kExitWorkerGone);
    }
    lock.lock();
    wake_.wait_for(lock, kReportInterval, [&] { return stopping_; });
  }
}

absl::Status WorkerLink::Finish(const v1::TaskOutcome& outcome) {
  const std::lock_guard finishing(finish_mutex_);
  if (finished_) return absl::FailedPreconditionError("this rank has delivered an outcome already");
  finished_ = true;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  reporter_.join();
  v1::ReportRequest request = TakeReport();
  *request.mutable_outcome() = outcome;
  return Send(request, kCallPatience);
}

}  // namespace regroup
