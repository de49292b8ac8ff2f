// upload: copies the published folder to the bucket that the job file names. It follows `report`, so that gates have
// been met, and repeats nothing that an earlier attempt has sent.
#include "services/common/remote/upload.h"

#include <fmt/format.h>

#include "services/common/base/files.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/local_paths.h"
#include "trainer/stages/byte_progress.h"
#include "trainer/stages/stage.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigitsOfJournal = 16;

absl::StatusOr<uint64_t> BytesIn(const fs::path& folder) {
  uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file(error)) bytes += entry->file_size(error);
  }
  if (error) return ErrnoStatus(error.value(), "list", folder);
  return bytes;
}

}  // namespace

absl::StatusOr<v1::TaskOutcome> RunUpload(StageContext& context) {
  const v1::JobSpec& spec = context.assignment.spec();
  REGROUP_ASSIGN_OR_RETURN(const RemoteSettings settings, ReadRemoteSettings());
  const std::string& job = context.assignment.attempt().job();
  const fs::path folder = LocalOutput(spec, JobFolder(context.work_folder, job));
  REGROUP_ASSIGN_OR_RETURN(const uint64_t bytes, BytesIn(folder));
  for (const std::string& text : AddressesToUpload(spec)) {
    REGROUP_ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
    ByteProgress progress(context.link, bytes);
    // Beside the folders of the attempts, all of which go on with it.
    const fs::path journal = context.attempt_folder.parent_path() /
                             fmt::format("journal-{}.json", Sha256Of(address.text).substr(0, kDigitsOfJournal));
    REGROUP_RETURN_IF_ERROR(Upload(folder, address, settings, {.job = job, .journal = journal}, progress.Counter()));
  }
  v1::TaskOutcome outcome;
  (*outcome.mutable_figures())["uploaded_bytes"] = static_cast<double>(bytes);
  return outcome;
}

}  // namespace regroup
