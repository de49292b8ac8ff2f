#include "trainer/stages/training_event_files.h"

#include <memory>

#include "trainer/event_files/training_events.h"
#include "trainer/stages/artifacts.h"

namespace regroup {

void StartEventFiles(StageContext& context, int64_t steps, const std::filesystem::path& part) {
  if (!context.spec().resources().event_files() || !context.leads()) return;
  const std::filesystem::path task_folder = context.attempt_folder.parent_path();
  const std::filesystem::path folder = task_folder.parent_path() / artifacts::kEvents / task_folder.filename() / part;
  context.link.ObserveMetrics(std::make_unique<TrainingEvents>(
      EventFileSettings{.folder = folder, .epoch = context.assignment.attempt().epoch(), .steps = steps}));
}

}  // namespace regroup
