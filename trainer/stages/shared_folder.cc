#include "trainer/stages/shared_folder.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "services/common/base/checksums.h"
#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

absl::Status CheckAll(const fs::path& published) {
  REGROUP_ASSIGN_OR_RETURN(const Checksums checksums, ReadChecksums(published / kChecksumFile));
  return CheckFiles(published, checksums);
}

bool IsIntact(const fs::path& published) {
  std::error_code error;
  if (!fs::exists(published, error)) return false;
  const absl::Status intact = CheckAll(published);
  if (intact.ok()) return true;
  LogWarning(fmt::format("a shared folder is removed and computed again: {}", std::string(intact.message())));
  fs::remove_all(published, error);
  return false;
}

}  // namespace

absl::StatusOr<bool> IsPublished(const StageContext& context, const fs::path& published) {
  at::Tensor known = at::zeros({1}, at::kDouble);
  if (context.leads() && IsIntact(published)) known.fill_(1);
  REGROUP_RETURN_IF_ERROR(context.communicator.RestingBarrier());
  REGROUP_RETURN_IF_ERROR(context.communicator.Broadcast(known, 0));
  return known.item<double>() != 0.0;
}

absl::Status PublishShared(const fs::path& staged, const fs::path& published) {
  REGROUP_ASSIGN_OR_RETURN(const Checksums checksums, ChecksumsOf(staged));
  REGROUP_RETURN_IF_ERROR(WriteFileAtomically(staged / kChecksumFile, FormatChecksums(checksums)));
  REGROUP_RETURN_IF_ERROR(MakeFolders(published.parent_path()));
  const absl::Status renamed = RenameWithoutReplacing(staged, published);
  return absl::IsAlreadyExists(renamed) ? absl::OkStatus() : renamed;
}

absl::StatusOr<SharedFolder> DescribeShared(const StageContext& context, const std::string& folder) {
  SharedFolder shared{.folder = folder};
  REGROUP_ASSIGN_OR_RETURN(shared.sha256, FileDigest(context.work_folder / folder / kChecksumFile));
  return shared;
}

absl::Status CheckShared(const StageContext& context, const SharedFolder& shared,
                         const std::vector<std::string>& files) {
  const fs::path folder = context.work_folder / shared.folder;
  REGROUP_ASSIGN_OR_RETURN(const Checksums all, ReadChecksums(folder / kChecksumFile, shared.sha256));
  Checksums wanted;
  for (const std::string& file : files) {
    const auto found = all.find(file);
    if (found == all.end()) return absl::DataLossError(fmt::format("{} has no checksum", (folder / file).string()));
    wanted.insert(*found);
  }
  return CheckFiles(folder, wanted);
}

}  // namespace regroup
