#include "services/worker/lease_keeper.h"

#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "services/common/base/logging.h"

namespace regroup {
namespace {

using google::protobuf::util::TimeUtil;

constexpr Lease::Milliseconds kCallPatience{5'000};
constexpr Lease::Milliseconds kRetryInterval{500};
constexpr Lease::Milliseconds kShortestInterval{50};

Lease::Milliseconds ToMilliseconds(const google::protobuf::Duration& duration) {
  return Lease::Milliseconds(TimeUtil::DurationToMilliseconds(duration));
}

std::vector<AttemptKey> KeysOf(const google::protobuf::RepeatedPtrField<v1::AttemptId>& ids) {
  std::vector<AttemptKey> keys;
  for (const v1::AttemptId& id : ids) keys.push_back(KeyOf(id));
  return keys;
}

/// Returns true for an answer of the coordinator that stays the same until an operator acts.
bool IsRefusal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status) || absl::IsFailedPrecondition(status) ||
         absl::IsInvalidArgument(status);
}

}  // namespace

LeaseKeeper::LeaseKeeper(CoordinatorLink* link, AttemptTable* table, LeaseEnd* end, WorkerDescription description,
                         ChangeSignal* signal)
    : link_(link),
      table_(table),
      end_(end),
      description_(std::move(description)),
      signal_(signal),
      interval_(kRetryInterval),
      thread_([this] { Run(); }) {}

LeaseKeeper::~LeaseKeeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

bool LeaseKeeper::MayAcquire() const {
  const std::lock_guard lock(mutex_);
  return registered_ && !draining_;
}

void LeaseKeeper::RegisterAgain() {
  const std::lock_guard lock(mutex_);
  registered_ = false;
  changed_.notify_all();
}

void LeaseKeeper::Run() {
  while (true) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    Visit();
    CheckLease();
    end_->Set(lease_.end());
    WaitForNextVisit();
  }
}

void LeaseKeeper::Visit() {
  bool registered;
  {
    const std::lock_guard lock(mutex_);
    registered = registered_;
  }
  const Lease::Time now = std::chrono::steady_clock::now();
  const bool in_contact = registered ? Beat(now) : Register(now);
  if (in_contact != in_contact_) {
    if (in_contact) {
      LogInfo("the coordinator answers again");
    } else {
      // The reason of a rejection is in the log already.
      if (!is_refused_) LogWarning("the coordinator cannot be reached", {{"reason", failure_}});
    }
  }
  in_contact_ = in_contact;
}

bool LeaseKeeper::Register(Lease::Time now) {
  const auto response = link_->Register(description_, table_->Keys(), lease_.Remaining(now, kCallPatience));
  if (!response.ok()) {
    NoteFailure(response.status());
    return false;
  }
  failure_.clear();
  granted_ = ToMilliseconds(response->lease());
  lease_.Grant(granted_, now);
  interval_ = std::max(kShortestInterval, ToMilliseconds(response->heartbeat_interval()));
  LogInfo("registered", {{"lease_ms", granted_.count()}, {"heartbeat_ms", interval_.count()}});
  StopAttempts(response->stop());
  NoteContact(true, false);
  return true;
}

/// Logs each rejection once: the worker keeps asking until somebody changes its token or its version.
void LeaseKeeper::NoteFailure(const absl::Status& status) {
  const std::string reason(status.message());
  const bool is_news = reason != failure_;
  failure_ = reason;
  is_refused_ = IsRefusal(status);
  if (is_refused_ && is_news) {
    LogError("the coordinator rejects this worker", {{"reason", reason}});
  } else {
    LogDebug("a call failed", {{"reason", reason}});
  }
}

bool LeaseKeeper::Beat(Lease::Time now) {
  const auto response = link_->Heartbeat(table_->Keys(), lease_.Remaining(now, kCallPatience));
  if (!response.ok()) {
    // After any gap the coordinator may be another process, or may have given this worker up.
    NoteContact(false, false);
    if (absl::IsNotFound(response.status())) return Register(now);
    NoteFailure(response.status());
    return false;
  }
  lease_.Renew(now);
  StopAttempts(response->stop());
  table_->Pause(KeysOf(response->pause()));
  NoteContact(true, response->draining());
  return true;
}

void LeaseKeeper::NoteContact(bool registered, bool draining) {
  {
    const std::lock_guard lock(mutex_);
    const bool is_news = (registered && !draining) != (registered_ && !draining_);
    registered_ = registered;
    draining_ = draining;
    if (!is_news) return;
  }
  signal_->Announce();
}

void LeaseKeeper::StopAttempts(const google::protobuf::RepeatedPtrField<v1::AttemptId>& ids) {
  if (ids.empty()) return;
  table_->Stop(KeysOf(ids), {.verdict = {v1::FAILURE_CLASS_INFRA, "stopped at the coordinator's request"}});
}

/// Stops everything if there is no lease, even a task whose assignment arrived after the end of the lease.
void LeaseKeeper::CheckLease() {
  const bool expired = lease_.Expired(std::chrono::steady_clock::now());
  if (lease_.held() && !expired) return;
  if (expired) LogError("the lease expired; stopping all attempts");
  lease_.Drop();
  NoteContact(false, false);
  const std::string reason =
      fmt::format("the coordinator could not be reached within the lease of {} s", granted_.count() / 1000.0);
  table_->StopAll({.verdict = {v1::FAILURE_CLASS_INFRA, reason}, .at_once = true});
}

void LeaseKeeper::WaitForNextVisit() {
  const Lease::Milliseconds interval = in_contact_ ? interval_ : std::min(interval_, kRetryInterval);
  const Lease::Milliseconds wait = lease_.Remaining(std::chrono::steady_clock::now(), interval);
  std::unique_lock lock(mutex_);
  const bool was_registered = registered_;
  changed_.wait_for(lock, wait, [&] { return stopping_ || registered_ != was_registered; });
}

}  // namespace regroup
