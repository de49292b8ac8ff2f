// Takes part in deciding which of several coordinators on one PostgreSQL leads, on a thread of its own: asks for the
// lease until it gets it, then holds it.
//
// IsLeading is judged by the time at which the lease was last asked for, so it turns false in time also where the
// database does not answer, or where this process was stopped and goes on. May be called from any thread.
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
  /// What others are told to call.
  std::string address;
  std::chrono::milliseconds lease;
};

class LeaderElection {
 public:
  static absl::StatusOr<std::unique_ptr<LeaderElection>> Start(const LeaderElectionOptions& options);
  ~LeaderElection() { Stop(); }

  /// Gives the lease back. Nothing may be written afterwards.
  void Stop();

  bool IsLeading() const { return fencing_ != 0 && Clock::now().time_since_epoch().count() < leads_until_; }
  /// Whether another coordinator has taken over from this one, which then can never lead again.
  bool IsOver() const { return is_over_; }
  /// The number to write with; 0 until this coordinator leads for the first time.
  int64_t fencing() const { return fencing_; }
  /// The address of whoever leads, as far as is known.
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

/// UNAVAILABLE (NOT_LEADER), with the address to call instead where it is known.
absl::Status NotLeader(const std::string& leader);

}  // namespace regroup
