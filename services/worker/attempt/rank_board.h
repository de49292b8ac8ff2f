// Stores what the ranks of one attempt have reported: which are there, what each does, and how the attempt ended.
//
// Thread-safe. The trainer server's threads write, the attempt's thread reads. Callers pass the time, so that every
// rule can be tested without waiting.
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
  /// For a gang on several workers: takes the number of ranks of each, in the order of the ranks.
  RankBoard(AttemptKey attempt, const std::vector<int>& ranks_of_members);

  /// Returns FAILED_PRECONDITION if the epoch, the world size, the rank or the worker that it runs on is not the
  /// expected one, or if another process has the rank. Keeps the first refusal: a gang that fell apart must not
  /// succeed.
  absl::Status Attest(const v1::AttestRequest& request, SteadyTime now, int member = 0);

  /// Returns true if the rank should exit; FAILED_PRECONDITION for another attempt, a rank that has not attested, or a
  /// rank that runs on another worker than `member`.
  absl::StatusOr<bool> Report(const v1::ReportRequest& request, SteadyTime now, int member = 0);

  /// Makes every later Report answer that the rank should exit.
  void Stop();

  /// Remembers that training should end with a checkpoint because its job is paused.
  void Pause();
  bool is_pausing() const;

  /// Returns the reason for the first rejected Attest; empty if none was rejected.
  std::string refusal() const;

  int attested() const;
  /// Returns the first member of the gang with a rank that has not attested, if any.
  std::optional<int> FirstMissingMember() const;

  /// Returns the outcome: a failure of any rank, else the success that rank 0 reported.
  std::optional<v1::TaskOutcome> outcome() const;

  /// Returns the rank that reported the outcome; 0 if there is none.
  int outcome_rank() const;

  /// Returns the time at which the outcome arrived.
  std::optional<SteadyTime> outcome_time() const;

  /// Returns one sentence about the rank that hangs, or nothing. A rank hangs when its ticks have not changed for
  /// `patience`, except that a rank which waits in a collective operation is excused while any other rank makes
  /// progress. If several hang, the rank that stopped reporting is named: a stopped process does not report that it
  /// waits for others.
  std::optional<std::string> FindHang(std::chrono::seconds patience, SteadyTime now) const;

 private:
  struct Rank {
    /// The worker that runs the rank, as its position in the gang.
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
  bool pausing_ = false;
};

}  // namespace regroup
