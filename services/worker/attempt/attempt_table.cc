#include "services/worker/attempt/attempt_table.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "services/common/base/logging.h"
#include "services/worker/attempt/gang_helper_attempt.h"
#include "services/worker/attempt/task_attempt.h"

namespace regroup {
namespace {

/// Time that an attempt waits for slots of one that is being stopped.
constexpr std::chrono::seconds kSlotPatience(2);

}  // namespace

AttemptTable::AttemptTable(const AttemptServices* services, std::vector<std::string> gpus,
                           std::function<void(EndedAttempt)> on_end, std::function<void()> on_free)
    : services_(services),
      on_end_(std::move(on_end)),
      on_free_(std::move(on_free)),
      slots_(services->options.slots, std::move(gpus)) {}

AttemptTable::~AttemptTable() {
  std::map<AttemptKey, Entry> entries;
  {
    const std::lock_guard lock(mutex_);
    entries.swap(entries_);
  }
}

std::vector<std::shared_ptr<SupervisedAttempt>> AttemptTable::AttemptsOfSameTask(const AttemptKey& key) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<SupervisedAttempt>> attempts;
  for (const auto& [other, entry] : entries_) {
    if (other.SameTask(key)) attempts.push_back(entry.attempt);
  }
  return attempts;
}

/// Stops older attempts of the same task. Returns false if this worker holds this attempt or a newer one.
bool AttemptTable::StopOlder(const AttemptKey& key) {
  for (const std::shared_ptr<SupervisedAttempt>& other : AttemptsOfSameTask(key)) {
    if (other->key().epoch >= key.epoch) return false;
    other->RequestStop({.verdict = {v1::FAILURE_CLASS_INFRA, "a newer attempt took over"}, .at_once = true});
    other->WaitForEnd();
  }
  return true;
}

void AttemptTable::Start(const v1::TaskAssignment& assignment) {
  const AttemptKey key = KeyOf(assignment.attempt());
  if (!StopOlder(key)) {
    LogWarning("this worker already holds the attempt", {{"job", key.job}, {"task", key.task}, {"epoch", key.epoch}});
    return;
  }
  const bool leads = assignment.gang().member() <= 0;
  const auto on_end = [this, leads, traceparent = assignment.traceparent()](const AttemptKey& ended,
                                                                            const v1::TaskOutcome& outcome) {
    FreeSlots(ended);
    on_end_({.key = ended, .outcome = outcome, .leads = leads, .traceparent = traceparent, .forget = [this, ended] {
               Remove(ended);
             }});
  };
  std::unique_lock lock(mutex_);
  const int ranks = RanksHere(assignment);
  if (!changed_.wait_for(lock, kSlotPatience, [&] { return slots_.free_slots() >= ranks; })) {
    LogWarning("an attempt was assigned more slots than are free",
               {{"job", key.job}, {"task", key.task}, {"ranks", ranks}, {"free", slots_.free_slots()}});
  }
  Entry& entry = entries_[key];
  entry.slots = slots_.Take(ranks);
  const std::string devices = slots_.VisibleDevices(entry.slots);
  if (!leads) {
    entry.attempt = std::make_shared<GangHelperAttempt>(assignment, devices, services_);
  } else {
    entry.attempt = std::make_shared<TaskAttempt>(assignment, devices, services_);
  }
  entry.attempt->Start(on_end);
}

void AttemptTable::Stop(const std::vector<AttemptKey>& keys, const StopRequest& request) {
  const std::lock_guard lock(mutex_);
  for (const AttemptKey& key : keys) {
    const auto found = entries_.find(key);
    if (found != entries_.end()) found->second.attempt->RequestStop(request);
  }
}

void AttemptTable::StopAll(const StopRequest& request) {
  const std::lock_guard lock(mutex_);
  for (const auto& [key, entry] : entries_) entry.attempt->RequestStop(request);
}

void AttemptTable::Pause(const std::vector<AttemptKey>& keys) {
  const std::lock_guard lock(mutex_);
  for (const AttemptKey& key : keys) {
    const auto found = entries_.find(key);
    if (found != entries_.end()) found->second.attempt->RequestPause();
  }
}

void AttemptTable::FreeSlots(const AttemptKey& key) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return;
    slots_.Release(std::exchange(found->second.slots, {}));
    changed_.notify_all();
  }
  on_free_();
}

void AttemptTable::Remove(const AttemptKey& key) {
  // Destroyed outside the lock, because the destructor waits for the attempt's thread.
  std::shared_ptr<SupervisedAttempt> removed;
  {
    const std::lock_guard lock(mutex_);
    const auto found = entries_.find(key);
    if (found == entries_.end()) return;
    removed = std::move(found->second.attempt);
    entries_.erase(found);
    changed_.notify_all();
  }
}

std::vector<AttemptKey> AttemptTable::Keys() const {
  const std::lock_guard lock(mutex_);
  std::vector<AttemptKey> keys;
  for (const auto& [key, entry] : entries_) keys.push_back(key);
  return keys;
}

std::shared_ptr<SupervisedAttempt> AttemptTable::Find(const AttemptKey& key) const {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : found->second.attempt;
}

bool AttemptTable::HoldsOtherEpochOf(const AttemptKey& key) const {
  const std::lock_guard lock(mutex_);
  return std::any_of(entries_.begin(), entries_.end(),
                     [&](const auto& entry) { return entry.first.SameTask(key) && entry.first != key; });
}

int AttemptTable::free_slots() const {
  const std::lock_guard lock(mutex_);
  return slots_.free_slots();
}

void AttemptTable::WaitForEnds() const {
  std::vector<std::shared_ptr<SupervisedAttempt>> attempts;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : entries_) attempts.push_back(entry.attempt);
  }
  for (const std::shared_ptr<SupervisedAttempt>& attempt : attempts) attempt->WaitForEnd();
}

bool AttemptTable::WaitUntilEmpty(SteadyTime deadline) {
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return entries_.empty(); });
}

}  // namespace regroup
