#include "coordinator/job/arm_name.h"

#include <fmt/format.h>

namespace regroup {

std::string AlignmentName(const v1::Arm& arm) { return fmt::format("k{}-{}", arm.kv_heads(), arm.alignment()); }

std::string ArmName(const v1::Arm& arm) {
  return fmt::format("{}{}-{}", AlignmentName(arm), arm.refine() ? "-refined" : "", arm.finetune());
}

}  // namespace regroup
