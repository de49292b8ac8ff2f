// regroup_fill_store: fills a store with many jobs without a coordinator, finished ones first, then waiting ones.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include <CLI/CLI.hpp>

#include "coordinator/store/sqlite_job_store.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/resolve_job_spec.h"
#include "tests/load/connection.h"

namespace regroup {
namespace {

constexpr int kJobsPerCommit = 500;
constexpr char kOwner[] = "user";
constexpr char kWorker[] = "filler";

Time Now() { return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now()); }

/// Returns a job and all its changes, as the coordinator would have stored them.
class StoredJob {
 public:
  explicit StoredJob(const std::string& id) : job_(New(id)) { Store(std::nullopt); }

  void Run() {
    while (!job_.IsFinal()) {
      const size_t task = job_.ReadyTasks(Time::max()).front();
      Change([&] { job_.Start(task, kWorker, Now()); });
      Change([&] { job_.Finish(task, OutcomeOf(job_.task(task).kind()), {}, Now()); });
    }
  }

  const std::vector<JobChange>& changes() const { return changes_; }

 private:
  static Job New(const std::string& id) {
    const v1::JobSpec spec = LoadRequest(id).spec();
    return Job::Create(id, spec, ResolveJobSpec(spec), Now(), kOwner);
  }

  static v1::TaskOutcome OutcomeOf(v1::TaskKind kind) {
    v1::TaskOutcome outcome;
    if (kind != v1::TASK_KIND_INSPECT) return outcome;
    outcome.mutable_model()->set_layers(2);
    outcome.mutable_model()->set_kv_heads(8);
    return outcome;
  }

  void Change(const std::function<void()>& change) {
    const Job before = job_;
    change();
    Store(before);
  }

  void Store(const std::optional<Job>& before) {
    job_.NextRevision();
    changes_.push_back({job_.record(), job_.TasksChangedSince(before)});
  }

  Job job_;
  std::vector<JobChange> changes_;
};

absl::Status Fill(SqliteJobStore& store, int count, const std::string& prefix, bool finished) {
  for (int begin = 0; begin < count; begin += kJobsPerCommit) {
    Changes changes;
    for (int number = begin; number < std::min(count, begin + kJobsPerCommit); ++number) {
      StoredJob job(fmt::format("{}-{}", prefix, number));
      if (finished) job.Run();
      changes.jobs.insert(changes.jobs.end(), job.changes().begin(), job.changes().end());
    }
    REGROUP_RETURN_IF_ERROR(store.Commit(changes));
  }
  return absl::OkStatus();
}

absl::Status FillStore(const std::string& folder, int finished, int waiting) {
  REGROUP_ASSIGN_OR_RETURN(const auto store, SqliteJobStore::Open({.path = folder + "/regroup.db"}));
  REGROUP_RETURN_IF_ERROR(Fill(*store, finished, "finished", true));
  return Fill(*store, waiting, "waiting", false);
}

}  // namespace
}  // namespace regroup

int main(int argc, char** argv) {
  std::string folder;
  int finished = 100000;
  int waiting = 10000;
  CLI::App app("Fills the store of a coordinator that is not running.");
  app.add_option("--state-dir", folder)->required();
  app.add_option("--finished", finished);
  app.add_option("--waiting", waiting);
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = regroup::FillStore(folder, finished, waiting);
  if (!status.ok()) fmt::print(stderr, "{}\n", status.ToString());
  return status.ok() ? 0 : 1;
}
