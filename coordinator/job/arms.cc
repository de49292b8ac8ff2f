#include "coordinator/job/arms.h"

#include <fmt/format.h>

#include <set>
#include <tuple>

namespace regroup {
namespace {

template <typename List, typename Value>
std::vector<Value> ValuesOr(const List& listed, const Value& own) {
  if (listed.empty()) return {own};
  return {listed.begin(), listed.end()};
}

v1::Arm MakeArm(int32_t kv_heads, const std::string& alignment, bool refine, const std::string& finetune,
                const v1::ModelSummary* model) {
  v1::Arm arm;
  arm.set_kv_heads(kv_heads);
  arm.set_alignment(alignment);
  const bool merges = model == nullptr || MergesHeads(arm, *model);
  arm.set_refine(refine && merges);
  arm.set_finetune(merges ? finetune : "none");
  return arm;
}

auto KeyOf(const v1::Arm& arm) {
  return std::make_tuple(arm.kv_heads(), arm.alignment(), arm.refine(), arm.finetune());
}

}  // namespace

std::vector<v1::Arm> ArmsOf(const v1::JobSpec& resolved, const v1::ModelSummary* model) {
  const v1::Sweep& sweep = resolved.sweep();
  std::vector<v1::Arm> arms;
  std::set<decltype(KeyOf(v1::Arm()))> seen;
  for (const int32_t kv_heads : ValuesOr(sweep.kv_heads(), resolved.target().kv_heads())) {
    for (const std::string& alignment : ValuesOr(sweep.alignment(), resolved.alignment().method())) {
      for (const bool refine : ValuesOr(sweep.refine(), resolved.refine().outputs())) {
        for (const std::string& finetune : ValuesOr(sweep.finetune(), resolved.finetune().method())) {
          v1::Arm arm = MakeArm(kv_heads, alignment, refine, finetune, model);
          if (!seen.insert(KeyOf(arm)).second) continue;
          arm.set_index(static_cast<int32_t>(arms.size()));
          arms.push_back(std::move(arm));
        }
      }
    }
  }
  return arms;
}

bool MergesHeads(const v1::Arm& arm, const v1::ModelSummary& model) { return arm.kv_heads() != model.kv_heads(); }

std::string AlignmentName(const v1::Arm& arm) { return fmt::format("k{}-{}", arm.kv_heads(), arm.alignment()); }

std::string ArmName(const v1::Arm& arm) {
  return fmt::format("{}{}-{}", AlignmentName(arm), arm.refine() ? "-refined" : "", arm.finetune());
}

}  // namespace regroup
