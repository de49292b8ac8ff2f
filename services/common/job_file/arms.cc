#include "services/common/job_file/arms.h"

#include <algorithm>
#include <functional>
#include <set>
#include <string>
#include <tuple>

#include "services/common/job_file/resolve_job_spec.h"

namespace regroup {
namespace {

template <typename List, typename Value>
std::vector<Value> ValuesOr(const List& listed, const Value& own) {
  if (listed.empty()) return {own};
  return {listed.begin(), listed.end()};
}

/// Returns true if any listed word is not "none", or, if none is listed, the job's own is not.
template <typename List>
bool AnyOtherThanNone(const List& listed, const std::string& own) {
  if (listed.empty()) return !own.empty() && own != "none";
  return std::any_of(listed.begin(), listed.end(), [](const std::string& word) { return word != "none"; });
}

/// The settings of an arm that have no effect where no heads are merged.
struct AfterMerging {
  std::string layerwise;
  bool refine = false;
  std::string finetune;
};

/// Returns every combination, in the order written.
std::vector<AfterMerging> AfterMergingOf(const v1::JobSpec& resolved) {
  const v1::Sweep& sweep = resolved.sweep();
  std::vector<AfterMerging> all;
  for (const std::string& layerwise : ValuesOr(sweep.layerwise(), resolved.layerwise().method())) {
    for (const bool refine : ValuesOr(sweep.refine(), resolved.refine().outputs())) {
      for (const std::string& finetune : ValuesOr(sweep.finetune(), resolved.finetune().method())) {
        all.push_back({layerwise, refine, finetune});
      }
    }
  }
  return all;
}

v1::Arm MakeArm(int32_t kv_heads, const std::string& alignment, const AfterMerging& after,
                std::optional<int32_t> model_kv_heads) {
  v1::Arm arm;
  arm.set_kv_heads(kv_heads);
  arm.set_alignment(alignment);
  const bool merges = !model_kv_heads || MergesHeads(arm, *model_kv_heads);
  arm.set_layerwise(merges ? after.layerwise : "none");
  arm.set_refine(after.refine && merges);
  arm.set_finetune(merges ? after.finetune : "none");
  return arm;
}

auto KeyOf(const v1::Arm& arm) {
  return std::make_tuple(arm.kv_heads(), arm.alignment(), arm.layerwise(), arm.refine(), arm.finetune());
}

}  // namespace

std::vector<v1::Arm> ArmsOf(const v1::JobSpec& resolved, std::optional<int32_t> model_kv_heads) {
  const v1::Sweep& sweep = resolved.sweep();
  const std::vector<AfterMerging> all_after = AfterMergingOf(resolved);
  std::vector<v1::Arm> arms;
  std::set<decltype(KeyOf(v1::Arm()))> seen;
  for (const int32_t kv_heads : ValuesOr(sweep.kv_heads(), resolved.target().kv_heads())) {
    for (const std::string& alignment : ValuesOr(sweep.alignment(), resolved.alignment().method())) {
      for (const AfterMerging& after : all_after) {
        v1::Arm arm = MakeArm(kv_heads, alignment, after, model_kv_heads);
        if (!seen.insert(KeyOf(arm)).second) continue;
        arm.set_index(static_cast<int32_t>(arms.size()));
        arms.push_back(std::move(arm));
      }
    }
  }
  return arms;
}

int32_t LayersPerTask(const v1::JobSpec& resolved, int32_t model_layers) {
  constexpr int32_t most_tasks = 8;
  if (resolved.layerwise().has_layers_per_task()) return resolved.layerwise().layers_per_task();
  return std::max(1, (model_layers + most_tasks - 1) / most_tasks);
}

double FinetuneRate(const v1::JobSpec& resolved, const v1::Arm& arm) {
  if (resolved.finetune().has_learning_rate()) return resolved.finetune().learning_rate();
  return DefaultFinetuneRate(DistillsLayers(arm));
}

size_t CountCombinations(const v1::JobSpec& resolved) {
  const v1::Sweep& sweep = resolved.sweep();
  const auto at_least_one = [](int size) { return static_cast<size_t>(std::max(size, 1)); };
  return at_least_one(sweep.kv_heads_size()) * at_least_one(sweep.alignment_size()) *
         at_least_one(sweep.layerwise_size()) * at_least_one(sweep.refine_size()) * at_least_one(sweep.finetune_size());
}

bool VariesAnything(const v1::JobSpec& resolved) {
  const v1::Sweep& sweep = resolved.sweep();
  return !sweep.kv_heads().empty() || !sweep.alignment().empty() || !sweep.layerwise().empty() ||
         !sweep.refine().empty() || !sweep.finetune().empty();
}

std::vector<int32_t> TargetsOf(const v1::JobSpec& resolved) {
  std::vector<int32_t> targets = ValuesOr(resolved.sweep().kv_heads(), resolved.target().kv_heads());
  std::sort(targets.begin(), targets.end(), std::greater<>());
  return targets;
}

bool AnyArmAligns(const v1::JobSpec& resolved) {
  return AnyOtherThanNone(resolved.sweep().alignment(), resolved.alignment().method());
}

bool AnyArmRefines(const v1::JobSpec& resolved) {
  const auto& listed = resolved.sweep().refine();
  if (listed.empty()) return resolved.refine().outputs();
  return std::find(listed.begin(), listed.end(), true) != listed.end();
}

bool AnyArmDistillsLayers(const v1::JobSpec& resolved) {
  return AnyOtherThanNone(resolved.sweep().layerwise(), resolved.layerwise().method());
}

bool Measures(const v1::Evaluation& evaluation) {
  return evaluation.has_perplexity() || evaluation.multiple_choice_size() > 0 || evaluation.has_latency() ||
         evaluation.has_answers();
}

bool AnyArmTrains(const v1::JobSpec& resolved) {
  return AnyOtherThanNone(resolved.sweep().finetune(), resolved.finetune().method());
}

}  // namespace regroup
