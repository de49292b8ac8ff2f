#include "services/cli/checked_job_file.h"

#include "services/base/status_macros.h"
#include "services/job_file/validate_job_spec.h"
#include "services/rpc/status.h"

namespace regroup {

absl::StatusOr<JobFile> ReadCheckedJobFile(const std::string& path) {
  REGROUP_ASSIGN_OR_RETURN(JobFile file, ReadJobFile(path));
  const std::vector<FieldViolation> violations = ValidateJobSpec(file.spec);
  if (violations.empty()) return file;
  std::string message;
  for (const FieldViolation& violation : violations) {
    message += (message.empty() ? "" : "\n") + DescribeViolation(file, violation);
  }
  return MakeError(absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD, message, violations);
}

}  // namespace regroup
