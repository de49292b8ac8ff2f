#include "coordinator/job/arm_name.h"

#include <fmt/format.h>

namespace regroup {

std::string AlignmentName(const v1::Arm& arm) { return fmt::format("k{}-{}", arm.kv_heads(), arm.alignment()); }

std::string MergedName(const v1::Arm& arm) {
  return AlignmentName(arm) + (arm.layerwise() == "distill" ? "-layerwise" : "");
}

std::string ArmName(const v1::Arm& arm) {
  return fmt::format("{}{}-{}", MergedName(arm), arm.refine() ? "-refined" : "", arm.finetune());
}

}  // namespace regroup
