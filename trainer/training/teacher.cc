#include "trainer/training/teacher.h"

#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<Teacher> LoadTeacher(const SourceModel& source, at::ScalarType dtype, at::Device device,
                                    std::optional<GangPlace> sliced_at) {
  Teacher teacher;
  if (!sliced_at.has_value()) {
    REGROUP_ASSIGN_OR_RETURN(teacher.model, source.Load(dtype, device));
    return teacher;
  }
  REGROUP_ASSIGN_OR_RETURN(const Model outer, source.MapOuter());
  teacher.model = CloneModel(outer, dtype, device);
  const int64_t layers = source.config().layers;
  teacher.model.blocks.resize(layers);
  teacher.slices = std::make_unique<SlicedBlocks>(layers, *sliced_at);
  for (int64_t layer = 0; layer < layers; ++layer) {
    REGROUP_ASSIGN_OR_RETURN(const Block block, source.MapBlock(layer));
    teacher.model.blocks[layer] = CloneBlock(block, dtype, device);
    teacher.slices->Add(layer, teacher.model.blocks[layer]);
  }
  return teacher;
}

}  // namespace regroup
