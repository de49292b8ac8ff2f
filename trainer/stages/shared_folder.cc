#include "trainer/stages/shared_folder.h"

#include <ATen/ATen.h>

#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {

absl::StatusOr<bool> IsPublished(const StageContext& context, const std::filesystem::path& published) {
  at::Tensor known = at::tensor(std::filesystem::exists(published) ? 1.0 : 0.0, at::kDouble).reshape({1});
  REGROUP_RETURN_IF_ERROR(context.communicator.Broadcast(known, 0));
  return known.item<double>() != 0.0;
}

absl::Status PublishShared(const std::filesystem::path& staged, const std::filesystem::path& published) {
  REGROUP_RETURN_IF_ERROR(MakeFolders(published.parent_path()));
  const absl::Status renamed = RenameWithoutReplacing(staged, published);
  return absl::IsAlreadyExists(renamed) ? absl::OkStatus() : renamed;
}

}  // namespace regroup
