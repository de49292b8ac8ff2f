#include "services/worker/task_acquirer.h"

#include <optional>

#include "services/common/base/logging.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kPauseAfterError{500};

}  // namespace

TaskAcquirer::TaskAcquirer(CoordinatorLink* link, AttemptTable* table, LeaseKeeper* keeper, ChangeSignal* signal,
                           std::chrono::milliseconds wait)
    : link_(link), table_(table), keeper_(keeper), signal_(signal), wait_(wait) {
  for (std::thread& thread : threads_) thread = std::thread([this] { Run(); });
}

TaskAcquirer::~TaskAcquirer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  signal_->Announce();
  link_->CancelAcquire();
  for (std::thread& thread : threads_) thread.join();
}

void TaskAcquirer::Run() {
  while (true) {
    const uint64_t seen = signal_->count();
    const SteadyTime now = std::chrono::steady_clock::now();
    if (IsStopping()) return;
    if (const std::optional<Offer> offer = TakeOffer(now)) {
      Ask(*offer);
    } else {
      WaitForChange(seen, now);
    }
  }
}

bool TaskAcquirer::IsStopping() const {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

std::optional<TaskAcquirer::Offer> TaskAcquirer::TakeOffer(SteadyTime now) {
  const std::lock_guard lock(mutex_);
  const int free = table_->free_slots();
  if (now < not_before_ || free <= offered_ || !keeper_->MayAcquire()) return std::nullopt;
  offered_ = free;
  return Offer{.slots = free, .call = ++calls_};
}

void TaskAcquirer::WaitForChange(uint64_t seen, SteadyTime now) {
  SteadyTime pause_end;
  {
    const std::lock_guard lock(mutex_);
    pause_end = not_before_;
  }
  if (now < pause_end) {
    signal_->WaitUntil(seen, pause_end);
  } else {
    signal_->Wait(seen);
  }
}

void TaskAcquirer::Ask(const Offer& offer) {
  const absl::StatusOr<std::optional<v1::TaskAssignment>> answer = link_->Acquire(offer.slots, wait_);
  if (answer.ok() && answer->has_value()) table_->Start(**answer);
  if (absl::IsNotFound(answer.status())) keeper_->RegisterAgain();
  EndCall(offer, !answer.ok());
}

void TaskAcquirer::EndCall(const Offer& offer, bool failed) {
  {
    const std::lock_guard lock(mutex_);
    if (failed) not_before_ = std::chrono::steady_clock::now() + kPauseAfterError;
    if (offer.call == calls_) offered_ = 0;
  }
  signal_->Announce();
}

}  // namespace regroup
