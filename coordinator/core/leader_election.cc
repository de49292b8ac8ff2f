#include "coordinator/core/leader_election.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/common/base/error.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kLongestPause(500);

}  // namespace

absl::StatusOr<std::unique_ptr<LeaderElection>> LeaderElection::Start(const LeaderElectionOptions& options) {
  REGROUP_ASSIGN_OR_RETURN(auto lease, PostgresLease::Open(options.store_url, options.address, options.lease));
  std::unique_ptr<LeaderElection> election(new LeaderElection(std::move(lease), options.lease));
  election->thread_ = std::thread(&LeaderElection::Run, election.get());
  return election;
}

LeaderElection::LeaderElection(std::unique_ptr<PostgresLease> lease, std::chrono::milliseconds duration)
    : lease_(std::move(lease)), duration_(duration) {}

void LeaderElection::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::string LeaderElection::leader() const {
  const std::lock_guard lock(mutex_);
  return leader_;
}

void LeaderElection::Run() {
  const auto pause = std::min(duration_ / 4, kLongestPause);
  bool is_failing = false;
  std::unique_lock lock(mutex_);
  while (!stopping_ && !is_over_) {
    lock.unlock();
    const absl::Status status = fencing_ == 0 ? Ask() : Hold();
    if (status.ok() == is_failing) {
      is_failing = !status.ok();
      if (is_failing) LogWarning("cannot ask for the lease", {{"reason", std::string(status.message())}});
    }
    lock.lock();
    stop_.wait_for(lock, pause, [this] { return stopping_; });
  }
  LeadUntil({});
  if (fencing_ != 0 && !is_over_) (void)lease_->Release(fencing_);
}

absl::Status LeaderElection::Ask() {
  const auto asked = Clock::now();
  REGROUP_ASSIGN_OR_RETURN(const std::optional<int64_t> fencing, lease_->TryTake());
  if (!fencing) return LookWhoLeads();
  SetLeader("");
  LeadUntil(asked + duration_);
  fencing_ = *fencing;
  LogInfo("leads", {{"fencing", *fencing}});
  return absl::OkStatus();
}

absl::Status LeaderElection::Hold() {
  const auto asked = Clock::now();
  REGROUP_ASSIGN_OR_RETURN(const bool is_held, lease_->Renew(fencing_));
  if (is_held) {
    LeadUntil(asked + duration_);
  } else {
    LeadUntil({});
    (void)LookWhoLeads();
    is_over_ = true;
  }
  return absl::OkStatus();
}

absl::Status LeaderElection::LookWhoLeads() {
  REGROUP_ASSIGN_OR_RETURN(const std::string leader, lease_->Holder());
  SetLeader(leader);
  return absl::OkStatus();
}

void LeaderElection::SetLeader(const std::string& leader) {
  const std::lock_guard lock(mutex_);
  leader_ = leader;
}

absl::Status NotLeader(const std::string& leader) {
  return MakeError(absl::StatusCode::kUnavailable, v1::NOT_LEADER,
                   leader.empty() ? "this coordinator does not lead; call again in a few seconds"
                                  : fmt::format("this coordinator does not lead; call {}", leader));
}

}  // namespace regroup
