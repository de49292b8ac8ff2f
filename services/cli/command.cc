#include "services/cli/command.h"

#include <fmt/format.h>

#include <cstdio>

#include <nlohmann/json.hpp>

#include "services/cli/json_text.h"
#include "services/common/base/error.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/validate_job_spec.h"

namespace regroup {
namespace {

// Each mistake follows on its own line, as editors expect.
const std::string kRefused = "the job file is invalid:\n";
constexpr char kFurtherLine[] = "\n    ";

std::string ErrorJson(const absl::Status& status) {
  nlohmann::json error = {{"code", absl::StatusCodeToString(status.code())},
                          {"message", std::string(status.message())}};
  if (ReasonOf(status) != v1::ERROR_REASON_UNSPECIFIED) error["reason"] = v1::ErrorReason_Name(ReasonOf(status));
  for (const FieldViolation& violation : ViolationsOf(status)) {
    error["field_violations"].push_back({{"field", violation.field()}, {"description", violation.description()}});
  }
  return JsonText(nlohmann::json{{"error", error}});
}

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
    message += PrintableText(DescribeViolation(*file, violation));
  }
  return MakeError(absl::StatusCode::kInvalidArgument, v1::INVALID_FIELD, message, violations);
}

void Print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

ExitCode PrintError(const absl::Status& status, bool json) {
  if (json) {
    Print(ErrorJson(status));
  } else {
    // The mistakes in a job file stand in column 0, where editors look for them; no other line may look like ours.
    const bool lists_mistakes = status.message().substr(0, kRefused.size()) == kRefused;
    fmt::print(stderr, "regroup: {}\n",
               PrintableText(std::string_view(status.message().data(), status.message().size()),
                             lists_mistakes ? "\n" : kFurtherLine));
  }
  return ExitCodeOf(status);
}

}  // namespace regroup
