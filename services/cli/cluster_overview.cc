#include "services/cli/cluster_overview.h"

#include <algorithm>
#include <utility>

#include "services/cli/quantity_text.h"
#include "services/common/base/enum_words.h"
#include "services/common/base/final_states.h"
#include "services/common/base/resource_names.h"

namespace regroup {
namespace {

using nlohmann::json;

/// Points kept for each curve: more than the widest sparkline shows.
constexpr size_t kMostPoints = 240;
constexpr size_t kMostCurves = 128;

int PlaceOf(const v1::Job& job) {
  if (IsActive(job)) return 0;
  return IsFinalState(job.state()) ? 2 : 1;
}

std::optional<StageSummary> StageThatRuns(const v1::Job& job, double now_s) {
  for (StageSummary& stage : SummariseStages(job, now_s)) {
    if (stage.state == v1::TASK_STATE_RUNNING) return std::move(stage);
  }
  return std::nullopt;
}

/// Takes the curves of the first running task that has any.
void TakeCurves(const OverviewJob& job, OverviewRow& row) {
  for (const v1::Task& task : job.job.tasks()) {
    if (task.state() != v1::TASK_STATE_RUNNING) continue;
    const std::string id = LastSegment(task.name());
    row.losses = job.curves.Values(id, task.kind() == v1::TASK_KIND_LAYERWISE ? "layer_loss" : "loss");
    row.speeds = job.curves.Values(id, "tokens_per_second");
    if (!row.losses.empty() || !row.speeds.empty()) return;
  }
}

json JobJson(const OverviewRow& row) {
  json value = {{"job", row.job}, {"state", EnumWord(row.state)}, {"elapsed_s", row.elapsed_s}};
  if (!row.note.empty()) value["note"] = row.note;
  if (row.stage) {
    value["stage"] = row.stage->name;
    value["fraction"] = row.stage->Fraction();
    if (row.stage->remaining_s) value["remaining_s"] = *row.stage->remaining_s;
    if (row.stage->loss) value["loss"] = *row.stage->loss;
    if (row.stage->tokens_per_second) value["tokens_per_second"] = *row.stage->tokens_per_second;
  }
  if (!row.losses.empty()) value["losses"] = row.losses;
  if (!row.speeds.empty()) value["speeds"] = row.speeds;
  return value;
}

json WorkerJson(const v1::Worker& worker) {
  return {{"worker", LastSegment(worker.name())},
          {"state", EnumWord(worker.state())},
          {"busy_slots", worker.busy_slots()},
          {"slots", worker.slots()},
          {"device", worker.device()},
          {"host", worker.host()},
          {"running_tasks", std::vector<std::string>(worker.running_tasks().begin(), worker.running_tasks().end())}};
}

}  // namespace

void JobCurves::Add(const v1::MetricPoint& point) {
  const Key key(point.task(), point.metric());
  if (points_.count(key) == 0) {
    if (points_.size() == kMostCurves) {
      points_.erase(oldest_first_.front());
      oldest_first_.pop_front();
    }
    oldest_first_.push_back(key);
  }
  std::deque<double>& points = points_[key];
  points.push_back(point.value());
  if (points.size() > kMostPoints) points.pop_front();
}

std::vector<double> JobCurves::Values(const std::string& task, const std::string& metric) const {
  const auto found = points_.find({task, metric});
  if (found == points_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

bool IsActive(const v1::Job& job) {
  switch (job.state()) {
    case v1::JOB_STATE_RUNNING:
    case v1::JOB_STATE_RECOVERING:
    case v1::JOB_STATE_CANCELLING:
    case v1::JOB_STATE_PAUSING:
      return true;
    default:
      return false;
  }
}

void SortForOverview(std::vector<v1::Job>& jobs) {
  std::stable_sort(jobs.begin(), jobs.end(), [](const v1::Job& one, const v1::Job& other) {
    const int place = PlaceOf(one), place_of_other = PlaceOf(other);
    if (place != place_of_other) return place < place_of_other;
    return SecondsOf(one.create_time()) > SecondsOf(other.create_time());
  });
}

OverviewRow RowOf(const OverviewJob& job, double now_s) {
  OverviewRow row;
  row.job = LastSegment(job.job.name());
  row.state = job.job.state();
  row.note = job.job.waiting_reason().empty() ? job.job.failure().message() : job.job.waiting_reason();
  row.elapsed_s = JobSeconds(job.job, now_s);
  if (IsFinalState(job.job.state())) return row;
  row.stage = StageThatRuns(job.job, now_s);
  TakeCurves(job, row);
  return row;
}

json OverviewJson(const ClusterOverview& overview, double now_s) {
  json value = {{"coordinator", overview.address},
                {"jobs", json::array()},
                {"has_more_jobs", overview.has_more_jobs},
                {"workers", json::array()},
                {"has_more_workers", overview.has_more_workers}};
  for (const OverviewJob& job : overview.jobs) value["jobs"].push_back(JobJson(RowOf(job, now_s)));
  for (const v1::Worker& worker : overview.workers) value["workers"].push_back(WorkerJson(worker));
  return value;
}

}  // namespace regroup
