#include <fmt/format.h>

#include "trainer/stages/stage.h"

namespace regroup {

Stage FindStage(v1::TaskKind kind) {
  switch (kind) {
    case v1::TASK_KIND_INSPECT:
      return RunInspect;
    case v1::TASK_KIND_CALIBRATE:
      return RunCalibrate;
    case v1::TASK_KIND_ALIGN:
      return RunAlign;
    case v1::TASK_KIND_REFINE:
      return RunRefine;
    case v1::TASK_KIND_FINETUNE:
      return RunFinetune;
    case v1::TASK_KIND_EXPORT:
      return RunExport;
    case v1::TASK_KIND_EVALUATE:
      return RunEvaluate;
    case v1::TASK_KIND_REPORT:
      return RunReport;
    default:
      return nullptr;
  }
}

absl::StatusOr<std::filesystem::path> StageContext::Input(const std::string& role) const {
  const auto entry = assignment.inputs().find(role);
  if (entry == assignment.inputs().end()) {
    return absl::InternalError(
        fmt::format("the assignment of {} has no input '{}'", assignment.attempt().task(), role));
  }
  return work_folder / entry->second;
}

}  // namespace regroup
