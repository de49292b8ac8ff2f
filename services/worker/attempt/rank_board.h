// Keeps what the ranks of one attempt have told their worker: who is there, what each does, and how it ended.
//
// Thread-safe. The trainer server's threads write, the attempt's thread reads. No clock inside: callers give the time,
// so that every rule can be tested without waiting.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "regroup/v1/trainer_service.pb.h"
#include "services/worker/attempt_key.h"

namespace regroup {

using SteadyTime = std::chrono::steady_clock::time_point;

class RankBoard {
 public:
  RankBoard(AttemptKey attempt, int ranks);
  /// A gang on several workers: how many ranks each runs, in the order of the ranks.
  RankBoard(AttemptKey attempt, const std::vector<int>& ranks_of_members);

  /// FAILED_PRECONDITION if the epoch, the world size, the rank or the worker that it runs on is not what was promised,
  /// or if the rank is taken by another process. The first refusal is kept: a gang that fell apart must not succeed.
  absl::Status Attest(const v1::AttestRequest& request, SteadyTime now, int member = 0);

  /// FAILED_PRECONDITION for another attempt or a rank that has not attested. True if the rank should exit.
  absl::StatusOr<bool> Report(const v1::ReportRequest& request, SteadyTime now);

  /// From now on Report answers that the rank should exit.
  void Stop();

  /// Returns why the first refused Attest was refused; empty if none was.
  std::string refusal() const;

  int attested() const;
  /// The first member of the gang some of whose ranks have not attested, if any.
  std::optional<int> FirstMissingMember() const;

  /// The outcome: a failure of any rank, else the success that rank 0 reported.
  std::optional<v1::TaskOutcome> outcome() const;

  /// The rank that reported it; 0 where there is none.
  int outcome_rank() const;

  /// Returns the time at which the outcome came.
  std::optional<SteadyTime> outcome_time() const;

  /// One sentence about the rank that hangs, or nothing. A rank hangs when its ticks have not changed for `patience`,
  /// except that one which waits in a collective operation is excused while any other rank gets something done. Of
  /// several, the one that has fallen silent is named: a stopped process does not report that it waits for others.
  std::optional<std::string> FindHang(std::chrono::seconds patience, SteadyTime now) const;

 private:
  struct Rank {
    /// Position in the gang of the worker that runs it.
    int member = 0;
    bool attested = false;
    int32_t process_id = 0;
    std::string host;
    v1::Activity activity;
    SteadyTime last_progress;
    SteadyTime last_report;
  };

  absl::Status Refuse(std::string reason);
  absl::Status CheckAttest(const v1::AttestRequest& request, int member);
  void NoteActivity(Rank& rank, const v1::Activity& activity, SteadyTime now);
  void NoteOutcome(int rank, const v1::TaskOutcome& outcome, SteadyTime now);

  const AttemptKey attempt_;

  mutable std::mutex mutex_;
  std::vector<Rank> ranks_;
  std::string refusal_;
  std::optional<v1::TaskOutcome> outcome_;
  int outcome_rank_ = 0;
  std::optional<SteadyTime> outcome_time_;
  bool stopped_ = false;
};

}  // namespace regroup
