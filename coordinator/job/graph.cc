#include "coordinator/job/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "coordinator/job/arm_name.h"
#include "services/common/base/task_roles.h"
#include "services/common/job_file/arms.h"
#include "services/common/job_file/data_names.h"
#include "services/common/job_file/local_paths.h"

namespace regroup {
namespace {

using Positions = std::vector<size_t>;

/// Tasks of one arm built so far; each list of tasks is an index in Graph::needs.
struct Branch {
  v1::Arm arm;
  bool merges = false;
  /// The tasks whose results together are the arm's model at this stage.
  size_t tip = 0;
  /// Tasks whose results together are the arm's model before any training, and after that of its layers.
  size_t aligned = 0;
  size_t distilled = 0;
};

bool UsesAddresses(const v1::JobSpec& spec) {
  return !AddressesToFetch(spec).empty() || !AddressesToUpload(spec).empty();
}

class GraphBuilder {
 public:
  GraphBuilder(const v1::JobSpec& spec, const v1::ModelSummary& model) : spec_(spec), model_(model) {
    graph_.arms = ArmsOf(spec, model.kv_heads());
    for (const v1::Arm& arm : graph_.arms) branches_.push_back({arm, MergesHeads(arm, model.kv_heads())});
  }

  Graph BuildBeforeInspect() {
    // Nobody knows yet which arms merge nothing.
    graph_.arms = ArmsOf(spec_);
    AddInspect();
    return std::move(graph_);
  }

  absl::StatusOr<Graph> Build() {
    if (model_.layers() > kMostLayers) {
      return absl::InvalidArgumentError(
          fmt::format("source.checkpoint has {} attention layers; Regroup converts models of at most {}",
                      model_.layers(), kMostLayers));
    }
    AddInspect();
    statistics_ = HasData(spec_.calibration()) ? List({AddCalibrate()}) : inspected_;
    for (Branch& branch : branches_) AddAligns(&branch);
    if (std::any_of(graph_.arms.begin(), graph_.arms.end(), DistillsLayers)) record_ = AddRecord();
    for (Branch& branch : branches_) AddLayerwise(&branch);
    for (Branch& branch : branches_) AddRefine(&branch);
    for (Branch& branch : branches_) AddFinetune(&branch);
    if (!spec_.has_sweep()) AddExport(&branches_.front());
    if (Evaluates()) AddEvaluates();
    AddReport();
    AddUpload();
    if (is_too_large_) return TooLarge();
    return std::move(graph_);
  }

 private:
  absl::Status TooLarge() const {
    return absl::InvalidArgumentError(fmt::format(
        "for {} layers and {} arms the job would have more than {} tasks, or more than {} counted for each arm; list "
        "less in sweep, or write a larger layerwise.layers_per_task",
        model_.layers(), graph_.arms.size(), kMostTasks, kMostTasksOfArms));
  }

  /// Returns the index of a list in Graph::needs.
  size_t List(Positions positions) {
    const auto [found, is_new] = lists_.emplace(std::move(positions), graph_.needs.size());
    if (is_new) graph_.needs.push_back(found->first);
    return found->second;
  }

  /// Adds a task and returns its position. If the id exists, another arm needs the same task. Adds none beyond the
  /// limits.
  size_t Add(TaskNode node) {
    tasks_of_arms_ += node.arms.size();
    is_too_large_ = is_too_large_ || tasks_of_arms_ > kMostTasksOfArms ||
                    (graph_.tasks.size() >= kMostTasks && !position_.contains(node.id));
    if (is_too_large_) return 0;
    const auto [found, is_new] = position_.emplace(node.id, graph_.tasks.size());
    if (is_new) {
      graph_.tasks.push_back(std::move(node));
    } else {
      std::vector<int>& arms = graph_.tasks[found->second].arms;
      arms.insert(arms.end(), node.arms.begin(), node.arms.end());
    }
    return found->second;
  }

  /// Returns a task's id. It names the arm's settings only if the job has several arms.
  std::string Id(std::string_view stage, const std::string& settings) const {
    return spec_.has_sweep() ? fmt::format("{}-{}", stage, settings) : std::string(stage);
  }

  void AddInspect() {
    size_t needs = List({});
    if (UsesAddresses(spec_)) {
      needs = List({Add({.id = "fetch", .kind = v1::TASK_KIND_FETCH, .role = kFetchRole, .needs = needs})});
    }
    inspected_ = List({Add({.id = "inspect", .kind = v1::TASK_KIND_INSPECT, .role = kInspectRole, .needs = needs})});
  }

  size_t AddCalibrate() {
    return Add({.id = "calibrate",
                .kind = v1::TASK_KIND_CALIBRATE,
                .role = kCalibrateRole,
                .ranks = CalibrationRanks(),
                .needs = inspected_});
  }

  void AddAligns(Branch* branch) {
    Positions layers;
    for (int layer = 0; layer < model_.layers() && !is_too_large_; ++layer) {
      layers.push_back(Add({.id = fmt::format("{}-{:03}", Id("align", AlignmentName(branch->arm)), layer),
                            .kind = v1::TASK_KIND_ALIGN,
                            .role = AlignRole(layer),
                            .layer = layer,
                            .layers = 1,
                            .arms = {branch->arm.index()},
                            .needs = statistics_}));
    }
    branch->tip = branch->aligned = List(std::move(layers));
  }

  size_t AddRecord() {
    return Add({.id = "record",
                .kind = v1::TASK_KIND_RECORD,
                .role = kRecordRole,
                .ranks = CalibrationRanks(),
                .needs = inspected_});
  }

  void AddLayerwise(Branch* branch) {
    if (!DistillsLayers(branch->arm)) return;
    const int each = LayersPerTask(spec_, model_.layers());
    Positions aligned = graph_.needs[branch->tip];
    aligned.push_back(record_);
    const size_t needs = List(std::move(aligned));
    Positions blocks;
    for (int first = 0; first < model_.layers() && !is_too_large_; first += each) {
      blocks.push_back(Add({.id = fmt::format("{}-{:03}", Id("layerwise", AlignmentName(branch->arm)), first),
                            .kind = v1::TASK_KIND_LAYERWISE,
                            .role = LayerwiseRole(first),
                            .layer = first,
                            .layers = std::min(each, model_.layers() - first),
                            .arms = {branch->arm.index()},
                            .needs = needs}));
    }
    branch->tip = branch->distilled = List(std::move(blocks));
  }

  void AddRefine(Branch* branch) {
    if (!branch->arm.refine()) return;
    branch->tip = List({Add({.id = Id("refine", MergedName(branch->arm)),
                             .kind = v1::TASK_KIND_REFINE,
                             .role = kRefineRole,
                             .ranks = CalibrationRanks(),
                             .arms = {branch->arm.index()},
                             .needs = branch->tip})});
    // A model that was refined directly after merging counts as the aligned one.
    (DistillsLayers(branch->arm) ? branch->distilled : branch->aligned) = branch->tip;
  }

  void AddFinetune(Branch* branch) {
    if (branch->arm.finetune() == "none") return;
    branch->tip = List({Add({.id = Id("finetune", ArmName(branch->arm)),
                             .kind = v1::TASK_KIND_FINETUNE,
                             .role = kFinetuneRole,
                             .ranks = std::max(1, spec_.finetune().ranks()),
                             .arms = {branch->arm.index()},
                             .needs = branch->tip})});
  }

  void AddExport(Branch* branch) {
    branch->tip = List(
        {Add({.id = "export", .kind = v1::TASK_KIND_EXPORT, .role = kExportRole, .arms = {0}, .needs = branch->tip})});
  }

  bool Evaluates() const { return Measures(spec_.evaluation()); }

  void AddEvaluates() {
    AddEvaluate("evaluate-source", kSourceSubject, {}, inspected_);
    if (!spec_.has_sweep()) AddComparisons(branches_.front());
    for (const Branch& branch : branches_) {
      const std::string id = spec_.has_sweep() ? Id("evaluate", ArmName(branch.arm)) : "evaluate-result";
      AddEvaluate(id, kResultSubject, {branch.arm.index()}, branch.tip);
    }
  }

  /// Adds the evaluations that the result of a single conversion is compared with; in a sweep the arms are compared
  /// with each other.
  void AddComparisons(const Branch& branch) {
    if (!branch.merges) return;
    const bool trains = branch.arm.finetune() != "none";
    const bool distills = DistillsLayers(branch.arm);
    const bool is_plain_average = branch.arm.alignment() == "none" && !branch.arm.refine() && !trains && !distills;
    if (!is_plain_average) AddEvaluate("evaluate-averaged", kAveragedSubject, {0}, inspected_);
    if (trains || distills) AddEvaluate("evaluate-aligned", kAlignedSubject, {0}, branch.aligned);
    if (trains && distills) AddEvaluate("evaluate-layerwise", kLayerwiseSubject, {0}, branch.distilled);
  }

  void AddEvaluate(const std::string& id, const std::string& subject, std::vector<int> arms, size_t needs) {
    evaluates_.push_back(Add({.id = id,
                              .kind = v1::TASK_KIND_EVALUATE,
                              .role = EvaluateRole(subject),
                              .ranks = std::max(1, spec_.evaluation().ranks()),
                              .subject = subject,
                              .arms = std::move(arms),
                              .needs = needs}));
  }

  void AddReport() {
    Positions needs = evaluates_;
    std::set<size_t> tips;
    for (const Branch& branch : branches_) tips.insert(branch.tip);
    for (const size_t tip : tips) needs.insert(needs.end(), graph_.needs[tip].begin(), graph_.needs[tip].end());
    std::sort(needs.begin(), needs.end());
    needs.erase(std::unique(needs.begin(), needs.end()), needs.end());
    Add({.id = "report", .kind = v1::TASK_KIND_REPORT, .role = kReportRole, .needs = List(std::move(needs))});
  }

  void AddUpload() {
    if (spec_.has_sweep() || AddressesToUpload(spec_).empty()) return;
    Add({.id = "upload", .kind = v1::TASK_KIND_UPLOAD, .role = kUploadRole, .needs = List({position_.at("report")})});
  }

  int CalibrationRanks() const { return std::max(1, spec_.calibration().ranks()); }

  const v1::JobSpec& spec_;
  const v1::ModelSummary& model_;
  Graph graph_;
  std::vector<Branch> branches_;
  std::map<std::string, size_t> position_;
  /// Indexes of the lists in Graph::needs.
  std::map<Positions, size_t> lists_;
  bool is_too_large_ = false;
  /// Tasks added so far, counted for each of their arms.
  size_t tasks_of_arms_ = 0;
  /// Indexes in Graph::needs of the lists with only `inspect`, and with the task that the align tasks wait for.
  size_t inspected_ = 0;
  size_t statistics_ = 0;
  /// Position of the task whose streams the layerwise tasks read, if there are any.
  size_t record_ = 0;
  Positions evaluates_;
};

}  // namespace

std::vector<size_t> Graph::AncestorsOf(size_t task) const {
  std::vector<bool> needed(task + 1, false);
  std::vector<bool> was_read(needs.size(), false);
  needed[task] = true;
  for (size_t position = task + 1; position-- > 0;) {
    if (!needed[position] || was_read[tasks[position].needs]) continue;
    was_read[tasks[position].needs] = true;
    for (const size_t need : NeedsOf(position)) needed[need] = true;
  }
  std::vector<size_t> ancestors;
  for (size_t position = 0; position < task; ++position) {
    if (needed[position]) ancestors.push_back(position);
  }
  return ancestors;
}

Graph GraphBeforeInspect(const v1::JobSpec& resolved) {
  return GraphBuilder(resolved, v1::ModelSummary()).BuildBeforeInspect();
}

absl::StatusOr<Graph> BuildGraph(const v1::JobSpec& resolved, const v1::ModelSummary& model) {
  return GraphBuilder(resolved, model).Build();
}

}  // namespace regroup
