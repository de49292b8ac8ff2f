#include "services/worker/attempt/rank_board.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>
#include <utility>

namespace regroup {
namespace {

/// A rank reports twice a second, whatever it waits for. A rank that is silent for longer than this has itself stopped.
constexpr std::chrono::seconds kSilence{3};

/// Returns a sentence such as "rank 1 made no progress for 60 s at step 12 in backward, waiting in reduce_scatter #7".
std::string Describe(size_t rank, const v1::Activity& activity, std::chrono::seconds idle) {
  std::string text = fmt::format("rank {} made no progress for {} s at step {}", rank, idle.count(), activity.step());
  if (!activity.phase().empty()) text += " in " + activity.phase();
  if (!activity.collective().empty()) text += ", waiting in " + activity.collective();
  return text;
}

}  // namespace

RankBoard::RankBoard(AttemptKey attempt, int ranks)
    : attempt_(std::move(attempt)), ranks_(static_cast<size_t>(std::max(1, ranks))) {}

RankBoard::RankBoard(AttemptKey attempt, const std::vector<int>& ranks_of_members) : attempt_(std::move(attempt)) {
  for (size_t member = 0; member < ranks_of_members.size(); ++member) {
    for (int i = 0; i < ranks_of_members[member]; ++i) ranks_.push_back({.member = static_cast<int>(member)});
  }
}

absl::Status RankBoard::Refuse(std::string reason) {
  if (refusal_.empty()) refusal_ = reason;
  return absl::FailedPreconditionError(std::move(reason));
}

absl::Status RankBoard::CheckAttest(const v1::AttestRequest& request, int member) {
  const int64_t promised = static_cast<int64_t>(ranks_.size());
  if (KeyOf(request.attempt()) != attempt_) {
    return Refuse(fmt::format("rank {} belongs to attempt {}, not to {}", request.rank(),
                              ToString(KeyOf(request.attempt())), ToString(attempt_)));
  }
  if (request.world_size() != promised) {
    return Refuse(fmt::format("rank {} sees {} ranks where {} were started: the gang fell apart", request.rank(),
                              request.world_size(), promised));
  }
  if (request.rank() < 0 || request.rank() >= promised) {
    return Refuse(fmt::format("rank {} does not exist among {} ranks", request.rank(), promised));
  }
  const Rank& rank = ranks_[static_cast<size_t>(request.rank())];
  if (rank.member != member) {
    return Refuse(
        fmt::format("rank {} runs on worker {} of the gang instead of worker {}", request.rank(), member, rank.member));
  }
  if (rank.attested && (rank.process_id != request.process_id() || rank.host != request.host())) {
    return Refuse(fmt::format("two processes claim to be rank {}", request.rank()));
  }
  return absl::OkStatus();
}

absl::Status RankBoard::Attest(const v1::AttestRequest& request, SteadyTime now, int member) {
  const std::lock_guard lock(mutex_);
  absl::Status checked = CheckAttest(request, member);
  if (!checked.ok()) return checked;
  Rank& rank = ranks_[static_cast<size_t>(request.rank())];
  rank.attested = true;
  rank.process_id = request.process_id();
  rank.host = request.host();
  rank.last_progress = now;
  rank.last_report = now;
  return absl::OkStatus();
}

absl::StatusOr<bool> RankBoard::Report(const v1::ReportRequest& request, SteadyTime now, int member) {
  const std::lock_guard lock(mutex_);
  const bool known = request.rank() >= 0 && static_cast<size_t>(request.rank()) < ranks_.size() &&
                     ranks_[static_cast<size_t>(request.rank())].attested;
  if (KeyOf(request.attempt()) != attempt_ || !known) {
    return absl::FailedPreconditionError(
        fmt::format("rank {} of attempt {} has not attested", request.rank(), ToString(KeyOf(request.attempt()))));
  }
  const int own_member = ranks_[static_cast<size_t>(request.rank())].member;
  if (own_member != member) {
    return absl::FailedPreconditionError(fmt::format("worker {} of the gang reported for rank {}, which worker {} runs",
                                                     member, request.rank(), own_member));
  }
  if (request.has_activity()) NoteActivity(ranks_[static_cast<size_t>(request.rank())], request.activity(), now);
  if (request.has_outcome()) NoteOutcome(request.rank(), request.outcome(), now);
  return stopped_;
}

void RankBoard::NoteActivity(Rank& rank, const v1::Activity& activity, SteadyTime now) {
  if (activity.ticks() != rank.activity.ticks()) rank.last_progress = now;
  rank.activity = activity;
  rank.last_report = now;
}

void RankBoard::NoteOutcome(int rank, const v1::TaskOutcome& outcome, SteadyTime now) {
  const bool first_failure = outcome.has_failure() && !(outcome_ && outcome_->has_failure());
  const bool first_success = !outcome.has_failure() && rank == 0 && !outcome_;
  if (!first_failure && !first_success) return;
  outcome_ = outcome;
  outcome_rank_ = rank;
  outcome_time_ = now;
}

void RankBoard::Stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
}

void RankBoard::Pause() {
  const std::lock_guard lock(mutex_);
  pausing_ = true;
}

bool RankBoard::is_pausing() const {
  const std::lock_guard lock(mutex_);
  return pausing_;
}

std::string RankBoard::refusal() const {
  const std::lock_guard lock(mutex_);
  return refusal_;
}

int RankBoard::attested() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(std::count_if(ranks_.begin(), ranks_.end(), [](const Rank& rank) { return rank.attested; }));
}

std::optional<int> RankBoard::FirstMissingMember() const {
  const std::lock_guard lock(mutex_);
  for (const Rank& rank : ranks_) {
    if (!rank.attested) return rank.member;
  }
  return std::nullopt;
}

std::optional<v1::TaskOutcome> RankBoard::outcome() const {
  const std::lock_guard lock(mutex_);
  return outcome_;
}

int RankBoard::outcome_rank() const {
  const std::lock_guard lock(mutex_);
  return outcome_rank_;
}

std::optional<SteadyTime> RankBoard::outcome_time() const {
  const std::lock_guard lock(mutex_);
  return outcome_time_;
}

std::optional<std::string> RankBoard::FindHang(std::chrono::seconds patience, SteadyTime now) const {
  const std::lock_guard lock(mutex_);
  std::vector<size_t> stuck;
  for (size_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].attested && now - ranks_[rank].last_progress >= patience) stuck.push_back(rank);
  }
  if (stuck.empty()) return std::nullopt;
  // The culprit is the rank that stopped reporting; else the one outside any collective; else the one that has made no
  // progress for longest. The others wait for it.
  const auto place = [&](size_t number) {
    const Rank& rank = ranks_[number];
    const bool reports = now - rank.last_report < kSilence;
    return std::tuple(reports, !rank.activity.collective().empty(), rank.last_progress);
  };
  const size_t culprit =
      *std::min_element(stuck.begin(), stuck.end(), [&](size_t a, size_t b) { return place(a) < place(b); });
  const Rank& rank = ranks_[culprit];
  if (!rank.activity.collective().empty() && stuck.size() < ranks_.size()) return std::nullopt;
  return Describe(culprit, rank.activity, std::chrono::duration_cast<std::chrono::seconds>(now - rank.last_progress));
}

}  // namespace regroup
