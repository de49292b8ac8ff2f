#include "services/cli/checked_job_file.h"

#include "services/common/base/error.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/validate_job_spec.h"

namespace regroup {
namespace {

// The mistakes follow on lines of their own, as editors expect them.
const std::string kRefused = "the job file is refused:\n";

}  // namespace

absl::StatusOr<JobFile> ReadCheckedJobFile(const std::string& path) {
  absl::StatusOr<JobFile> file = ReadJobFile(path);
  if (absl::IsInvalidArgument(file.status())) {
    return absl::InvalidArgumentError(kRefused + std::string(file.status().message()));
  }
  REGROUP_RETURN_IF_ERROR(file.status());
  const std::vector<FieldViolation> violations = ValidateJobSpec(file->spec);
  if (violations.empty()) return file;
  std::string message = kRefused;
  for (const FieldViolation& violation : violations) {
    if (message != kRefused) message += "\n";
    message += DescribeViolation(*file, violation);
  }
  return MakeError(absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD, message, violations);
}

}  // namespace regroup
