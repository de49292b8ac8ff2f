// Takes part in electing the leader among several coordinators on one PostgreSQL, on its own thread: asks for the lease
// until it gets it, then renews it.
//
// IsLeading counts from the time at which the last successful request for the lease was sent, so it turns false in time
// even if the database does not answer, or if this process was stopped and resumed. May be called from any thread.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "coordinator/store/postgres_lease.h"

namespace regroup {

struct LeaderElectionOptions {
  std::string store_url;
  /// Address that other coordinators tell callers to use.
  std::string address;
  std::chrono::milliseconds lease;
};

class LeaderElection {
 public:
  static absl::StatusOr<std::unique_ptr<LeaderElection>> Start(const LeaderElectionOptions& options);
  ~LeaderElection() { Stop(); }

  /// Releases the lease. Nothing may be written afterwards.
  void Stop();

  bool IsLeading() const { return fencing_ != 0 && Clock::now().time_since_epoch().count() < leads_until_; }
  /// Returns true if another coordinator has taken over from this one, which then can never lead again.
  bool IsOver() const { return is_over_; }
  /// Returns the fencing number to write with; 0 until this coordinator leads for the first time.
  int64_t fencing() const { return fencing_; }
  /// Returns the address of the current leader; empty if unknown.
  std::string leader() const;

 private:
  using Clock = std::chrono::steady_clock;

  LeaderElection(std::unique_ptr<PostgresLease> lease, std::chrono::milliseconds duration);

  void Run();
  absl::Status Ask();
  absl::Status Hold();
  absl::Status LookWhoLeads();
  void SetLeader(const std::string& leader);
  void LeadUntil(Clock::time_point time) { leads_until_ = time.time_since_epoch().count(); }

  const std::unique_ptr<PostgresLease> lease_;
  const std::chrono::milliseconds duration_;
  std::atomic<int64_t> fencing_ = 0;
  std::atomic<int64_t> leads_until_ = 0;
  std::atomic<bool> is_over_ = false;
  mutable std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::string leader_;
  std::thread thread_;
};

/// Returns UNAVAILABLE (NOT_LEADER), with the address to call instead if it is known.
absl::Status NotLeader(const std::string& leader);

}  // namespace regroup
