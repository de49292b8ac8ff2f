#include "coordinator/store/job_lister.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

/// Rows of one statement: PostgreSQL answers with all of them at once.
constexpr int64_t kRowsAtOnce = 64;
/// Bytes of jobs after which the mutex is released.
constexpr size_t kBytesAtOnce = size_t{256} << 10;

constexpr char kSelectJobs[] = "SELECT number, state, job FROM jobs WHERE number < $1 ORDER BY number DESC LIMIT $2";
constexpr char kSelectJobsOfOwner[] =
    "SELECT number, state, job FROM jobs WHERE number < $1 AND owner = $2 ORDER BY number DESC LIMIT $3";
constexpr char kSelectJobsInState[] =
    "SELECT number, state, job FROM jobs WHERE number < $1 AND state = $2 ORDER BY number DESC LIMIT $3";

bool HasLabels(const v1::Job& job, const std::map<std::string, std::string>& wanted) {
  const auto& labels = job.spec().labels();
  return std::all_of(wanted.begin(), wanted.end(), [&labels](const auto& label) {
    const auto found = labels.find(label.first);
    return found != labels.end() && found->second == label.second;
  });
}

bool IsIn(const std::vector<v1::JobState>& states, v1::JobState state) {
  return states.empty() || std::find(states.begin(), states.end(), state) != states.end();
}

}  // namespace

JobLister::JobLister(SqlConnection* connection, std::mutex* mutex, const JobQuery& query)
    : connection_(connection),
      mutex_(mutex),
      query_(query),
      position_(query.before == 0 ? std::numeric_limits<int64_t>::max() : query.before) {}

absl::StatusOr<JobPage> JobLister::List() {
  while (has_more_) {
    if (HasLookedAtEnough()) {
      page_.next = position_;
      break;
    }
    REGROUP_ASSIGN_OR_RETURN(const std::vector<Row> rows, ReadRows());
    for (const Row& row : rows) {
      REGROUP_ASSIGN_OR_RETURN(const bool goes_on, Take(row));
      if (!goes_on) return std::move(page_);
    }
  }
  return std::move(page_);
}

SqlCommand JobLister::Command(int64_t rows) const {
  if (!query_.owner.empty()) return {kSelectJobsOfOwner, {position_, query_.owner, rows}};
  // Use the index: a rare state must not be searched for among all jobs.
  if (query_.states.size() == 1) return {kSelectJobsInState, {position_, int64_t{query_.states.front()}, rows}};
  return {kSelectJobs, {position_, rows}};
}

absl::StatusOr<std::vector<JobLister::Row>> JobLister::ReadRows() {
  const int64_t asked = std::min(static_cast<int64_t>(query_.limit) + 1, kRowsAtOnce);
  std::vector<Row> copies;
  const std::lock_guard lock(*mutex_);
  REGROUP_ASSIGN_OR_RETURN(const std::unique_ptr<SqlRows> rows, connection_->Query(Command(asked)));
  REGROUP_RETURN_IF_ERROR(CopyRows(*rows, asked, &copies));
  return copies;
}

absl::Status JobLister::CopyRows(SqlRows& rows, int64_t asked, std::vector<Row>* copies) {
  size_t bytes = 0;
  for (int64_t read = 0; read < asked && bytes < kBytesAtOnce; ++read) {
    REGROUP_ASSIGN_OR_RETURN(has_more_, rows.Next());
    if (!has_more_) break;
    Row& row = copies->emplace_back();
    position_ = row.number = rows.Integer(0);
    if (IsIn(query_.states, static_cast<v1::JobState>(rows.Integer(1)))) row.job = rows.Bytes(2);
    bytes += row.job.size();
    ++rows_;
  }
  bytes_ += bytes;
  return absl::OkStatus();
}

absl::StatusOr<bool> JobLister::Take(const Row& row) {
  if (row.job.empty()) return true;
  v1::Job job;
  if (!job.ParseFromString(row.job)) return absl::InternalError("store: a regroup.v1.Job is not readable");
  if (!HasLabels(job, query_.labels)) return true;
  const bool is_full =
      page_.jobs.size() == query_.limit || (!page_.jobs.empty() && page_bytes_ + row.job.size() > query_.bytes);
  if (is_full) {
    page_.next = last_;
    return false;
  }
  last_ = row.number;
  page_bytes_ += row.job.size();
  page_.jobs.push_back(std::move(job));
  return true;
}

}  // namespace regroup
