// Lets a training write TensorBoard event files, if the job asks for them (resources.event_files).
#pragma once

#include <cstdint>
#include <filesystem>

#include "trainer/stages/stage.h"

namespace regroup {

/// From now on the leader also writes what it publishes to the folder events/<task> of the job, below it to the folder
/// `part`, if that is not empty. `steps` is the length of the training.
void StartEventFiles(StageContext& context, int64_t steps, const std::filesystem::path& part = {});

}  // namespace regroup
