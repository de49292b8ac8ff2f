#include "services/worker/task_acquirer.h"

#include <optional>

#include "services/common/base/logging.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kVisitInterval{50};
constexpr std::chrono::milliseconds kPauseAfterError{500};

}  // namespace

TaskAcquirer::TaskAcquirer(CoordinatorLink* link, AttemptTable* table, LeaseKeeper* keeper,
                           std::chrono::milliseconds wait)
    : link_(link), table_(table), keeper_(keeper), wait_(wait) {
  for (std::thread& thread : threads_) thread = std::thread([this] { Run(); });
}

TaskAcquirer::~TaskAcquirer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  link_->CancelAcquire();
  for (std::thread& thread : threads_) thread.join();
}

void TaskAcquirer::Run() {
  for (Offer offer = WaitForOffer(); offer.slots > 0; offer = WaitForOffer()) Ask(offer);
}

bool TaskAcquirer::ShouldAsk() const {
  return std::chrono::steady_clock::now() >= not_before_ && table_->free_slots() > offered_ && keeper_->MayAcquire();
}

TaskAcquirer::Offer TaskAcquirer::WaitForOffer() {
  std::unique_lock lock(mutex_);
  // Slots come free and the keeper changes its mind without a notice, so both are looked at from time to time.
  while (!stopping_ && !ShouldAsk()) changed_.wait_for(lock, kVisitInterval);
  if (stopping_) return {};
  offered_ = table_->free_slots();
  return {.slots = offered_, .call = ++calls_};
}

void TaskAcquirer::Ask(const Offer& offer) {
  const absl::StatusOr<std::optional<v1::TaskAssignment>> answer = link_->Acquire(offer.slots, wait_);
  if (answer.ok() && answer->has_value()) table_->Start(**answer);
  if (absl::IsNotFound(answer.status())) keeper_->RegisterAgain();
  EndCall(offer, !answer.ok());
}

void TaskAcquirer::EndCall(const Offer& offer, bool failed) {
  const std::lock_guard lock(mutex_);
  if (failed) not_before_ = std::chrono::steady_clock::now() + kPauseAfterError;
  if (offer.call == calls_) offered_ = 0;
  changed_.notify_all();
}

}  // namespace regroup
