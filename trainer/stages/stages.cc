#include <fmt/format.h>

#include "services/common/base/task_kinds.h"
#include "trainer/stages/stage.h"

namespace regroup {

Stage FindStage(v1::TaskKind kind) {
  for (const NamedStage& stage : AllStages()) {
    if (stage.word == WordOf(kind)) return stage.run;
  }
  return nullptr;
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
