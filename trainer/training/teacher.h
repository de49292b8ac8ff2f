// The source as the teacher of fine-tuning.
#pragma once

#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "trainer/model_folder/source_model.h"
#include "trainer/nn/model.h"
#include "trainer/parallel/communicator.h"
#include "trainer/training/sliced_blocks.h"

namespace regroup {

struct Teacher {
  Model model;
  /// The weights of the model's blocks, if they are sliced; otherwise null.
  std::unique_ptr<SlicedBlocks> slices;
};

/// Loads the source; with a place in a gang, its blocks are sliced one after the other.
absl::StatusOr<Teacher> LoadTeacher(const SourceModel& source, at::ScalarType dtype, at::Device device,
                                    std::optional<GangPlace> sliced_at = {});

}  // namespace regroup
