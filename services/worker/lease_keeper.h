// Keeps a worker registered and renews its lease; stops the attempts that the coordinator no longer wants, and all
// attempts when the coordinator cannot be reached for longer than the lease.
//
// Owned by the worker. Has a thread of its own; the public functions may be called from any thread.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "services/common/base/change_signal.h"
#include "services/worker/attempt/attempt_table.h"
#include "services/worker/coordinator_link.h"
#include "services/worker/lease.h"

namespace regroup {

class LeaseKeeper {
 public:
  /// Registers the worker with `description` and keeps `end` up to date. Notifies `signal` when MayAcquire may have
  /// become true. The pointers outlive the keeper.
  LeaseKeeper(CoordinatorLink* link, AttemptTable* table, LeaseEnd* end, WorkerDescription description,
              ChangeSignal* signal);
  ~LeaseKeeper();

  /// Returns true if the worker is registered and not draining, so that it may ask for tasks.
  bool MayAcquire() const;

  /// Call this when the coordinator answered that it does not know this worker.
  void RegisterAgain();

 private:
  void Run();
  void Visit();
  bool Register(Lease::Time now);
  bool Beat(Lease::Time now);
  void NoteFailure(const absl::Status& status);
  void NoteContact(bool registered, bool draining);
  void StopAttempts(const google::protobuf::RepeatedPtrField<v1::AttemptId>& ids);
  void CheckLease();
  void WaitForNextVisit();

  CoordinatorLink* const link_;
  AttemptTable* const table_;
  LeaseEnd* const end_;
  const WorkerDescription description_;
  ChangeSignal* const signal_;

  // Used by the keeper's thread only.
  Lease lease_;
  Lease::Milliseconds interval_;
  Lease::Milliseconds granted_{0};
  bool in_contact_ = true;
  /// Why the last call failed, and whether the coordinator rejected it; empty since the worker was accepted.
  std::string failure_;
  bool is_refused_ = false;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool registered_ = false;
  bool draining_ = false;
  bool stopping_ = false;

  std::thread thread_;
};

}  // namespace regroup
