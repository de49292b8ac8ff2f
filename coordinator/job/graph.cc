#include "coordinator/job/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "coordinator/job/arm_name.h"
#include "services/common/base/task_roles.h"
#include "services/common/job_file/arms.h"

namespace regroup {
namespace {

using Positions = std::vector<size_t>;

/// Tasks of one arm built so far.
struct Branch {
  v1::Arm arm;
  bool merges = false;
  /// The tasks whose results together are the arm's model at this stage.
  Positions tip;
  /// Tasks whose results together are the arm's model before any training, and after that of its layers.
  Positions aligned;
  Positions distilled;
};

class GraphBuilder {
 public:
  GraphBuilder(const v1::JobSpec& spec, const v1::ModelSummary& model) : spec_(spec), model_(model) {
    graph_.arms = ArmsOf(spec, model.kv_heads());
    for (const v1::Arm& arm : graph_.arms) branches_.push_back({arm, MergesHeads(arm, model.kv_heads())});
  }

  Graph Build() {
    inspect_ = Add({.id = "inspect", .kind = v1::TASK_KIND_INSPECT, .role = kInspectRole});
    statistics_ = spec_.calibration().data().empty() ? inspect_ : AddCalibrate();
    for (Branch& branch : branches_) AddAligns(&branch);
    if (std::any_of(graph_.arms.begin(), graph_.arms.end(), DistillsLayers)) record_ = AddRecord();
    for (Branch& branch : branches_) AddLayerwise(&branch);
    for (Branch& branch : branches_) AddRefine(&branch);
    for (Branch& branch : branches_) AddFinetune(&branch);
    if (!spec_.has_sweep()) AddExport(&branches_.front());
    if (Evaluates()) AddEvaluates();
    AddReport();
    return std::move(graph_);
  }

 private:
  /// Adds a task and returns its position. If the id exists, another arm needs the same task.
  size_t Add(TaskNode node) {
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

  size_t AddCalibrate() {
    return Add({.id = "calibrate",
                .kind = v1::TASK_KIND_CALIBRATE,
                .role = kCalibrateRole,
                .ranks = CalibrationRanks(),
                .needs = {inspect_}});
  }

  void AddAligns(Branch* branch) {
    for (int layer = 0; layer < model_.layers(); ++layer) {
      branch->tip.push_back(Add({.id = fmt::format("{}-{:03}", Id("align", AlignmentName(branch->arm)), layer),
                                 .kind = v1::TASK_KIND_ALIGN,
                                 .role = AlignRole(layer),
                                 .layer = layer,
                                 .layers = 1,
                                 .arms = {branch->arm.index()},
                                 .needs = {statistics_}}));
    }
    branch->aligned = branch->tip;
  }

  size_t AddRecord() {
    return Add({.id = "record",
                .kind = v1::TASK_KIND_RECORD,
                .role = kRecordRole,
                .ranks = CalibrationRanks(),
                .needs = {inspect_}});
  }

  void AddLayerwise(Branch* branch) {
    if (!DistillsLayers(branch->arm)) return;
    const int each = LayersPerTask(spec_, model_.layers());
    Positions needs = branch->tip;
    needs.push_back(record_);
    Positions blocks;
    for (int first = 0; first < model_.layers(); first += each) {
      blocks.push_back(Add({.id = fmt::format("{}-{:03}", Id("layerwise", AlignmentName(branch->arm)), first),
                            .kind = v1::TASK_KIND_LAYERWISE,
                            .role = LayerwiseRole(first),
                            .layer = first,
                            .layers = std::min(each, model_.layers() - first),
                            .arms = {branch->arm.index()},
                            .needs = needs}));
    }
    branch->tip = branch->distilled = std::move(blocks);
  }

  void AddRefine(Branch* branch) {
    if (!branch->arm.refine()) return;
    branch->tip = {Add({.id = Id("refine", MergedName(branch->arm)),
                        .kind = v1::TASK_KIND_REFINE,
                        .role = kRefineRole,
                        .ranks = CalibrationRanks(),
                        .arms = {branch->arm.index()},
                        .needs = branch->tip})};
    // A model that was refined directly after merging counts as the aligned one.
    (DistillsLayers(branch->arm) ? branch->distilled : branch->aligned) = branch->tip;
  }

  void AddFinetune(Branch* branch) {
    if (branch->arm.finetune() == "none") return;
    branch->tip = {Add({.id = Id("finetune", ArmName(branch->arm)),
                        .kind = v1::TASK_KIND_FINETUNE,
                        .role = kFinetuneRole,
                        .ranks = std::max(1, spec_.finetune().ranks()),
                        .arms = {branch->arm.index()},
                        .needs = branch->tip})};
  }

  void AddExport(Branch* branch) {
    branch->tip = {
        Add({.id = "export", .kind = v1::TASK_KIND_EXPORT, .role = kExportRole, .arms = {0}, .needs = branch->tip})};
  }

  bool Evaluates() const {
    const v1::Evaluation& evaluation = spec_.evaluation();
    return evaluation.has_perplexity() || evaluation.multiple_choice_size() > 0 || evaluation.has_latency();
  }

  void AddEvaluates() {
    AddEvaluate("evaluate-source", kSourceSubject, {}, {inspect_});
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
    if (!is_plain_average) AddEvaluate("evaluate-averaged", kAveragedSubject, {0}, {inspect_});
    if (trains || distills) AddEvaluate("evaluate-aligned", kAlignedSubject, {0}, branch.aligned);
    if (trains && distills) AddEvaluate("evaluate-layerwise", kLayerwiseSubject, {0}, branch.distilled);
  }

  void AddEvaluate(const std::string& id, const std::string& subject, std::vector<int> arms, Positions needs) {
    evaluates_.push_back(Add({.id = id,
                              .kind = v1::TASK_KIND_EVALUATE,
                              .role = EvaluateRole(subject),
                              .ranks = std::max(1, spec_.evaluation().ranks()),
                              .subject = subject,
                              .arms = std::move(arms),
                              .needs = std::move(needs)}));
  }

  void AddReport() {
    Positions needs = evaluates_;
    for (const Branch& branch : branches_) needs.insert(needs.end(), branch.tip.begin(), branch.tip.end());
    std::sort(needs.begin(), needs.end());
    needs.erase(std::unique(needs.begin(), needs.end()), needs.end());
    Add({.id = "report", .kind = v1::TASK_KIND_REPORT, .role = kReportRole, .needs = std::move(needs)});
  }

  int CalibrationRanks() const { return std::max(1, spec_.calibration().ranks()); }

  const v1::JobSpec& spec_;
  const v1::ModelSummary& model_;
  Graph graph_;
  std::vector<Branch> branches_;
  std::map<std::string, size_t> position_;
  size_t inspect_ = 0;
  /// Position of the task that the align tasks wait for.
  size_t statistics_ = 0;
  /// Position of the task whose streams the layerwise tasks read, if there are any.
  size_t record_ = 0;
  Positions evaluates_;
};

}  // namespace

std::vector<size_t> Graph::AncestorsOf(size_t task) const {
  std::vector<bool> needed(task + 1, false);
  needed[task] = true;
  for (size_t position = task + 1; position-- > 0;) {
    if (!needed[position]) continue;
    for (const size_t need : tasks[position].needs) needed[need] = true;
  }
  std::vector<size_t> ancestors;
  for (size_t position = 0; position < task; ++position) {
    if (needed[position]) ancestors.push_back(position);
  }
  return ancestors;
}

Graph BuildGraph(const v1::JobSpec& resolved, const v1::ModelSummary* model) {
  if (model != nullptr) return GraphBuilder(resolved, *model).Build();
  Graph graph;
  graph.arms = ArmsOf(resolved);
  graph.tasks.push_back({.id = "inspect", .kind = v1::TASK_KIND_INSPECT, .role = kInspectRole});
  return graph;
}

}  // namespace regroup
