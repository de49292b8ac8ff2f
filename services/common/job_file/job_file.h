// The job file: a JobSpec written as YAML with the same field names.
//
// Reading is strict: unknown keys, duplicate keys, anchors, aliases, tags and values of another type are refused with
// file:line:column and the nearest known key. All functions are pure except ReadJobFile and may be called from any
// thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"
#include "services/common/base/error.h"
#include "services/common/job_file/yaml_tree.h"

namespace regroup {

/// A job with the place of each of its keys, so that later findings can name the line too.
struct JobFile {
  std::string file_name;
  v1::JobSpec spec;
  /// By path: "finetune.steps", "evaluation.multiple_choice[0].data".
  std::map<std::string, Position> positions;
};

/// Reads the text of a job file. Relative paths in it are resolved against the folder of `file_name`. All mistakes are
/// reported together, one a line. INVALID_ARGUMENT.
absl::StatusOr<JobFile> ParseJobFileWithPositions(std::string_view text, std::string_view file_name);

/// The same without the positions.
absl::StatusOr<v1::JobSpec> ParseJobFile(std::string_view text, std::string_view file_name);

/// ParseJobFileWithPositions on the content of a file. NOT_FOUND and the like where it cannot be read.
absl::StatusOr<JobFile> ReadJobFile(const std::string& path);

/// "file:line:column: finetune.steps: message" for a finding of ValidateJobSpec; a key that is not written is placed at
/// the nearest written parent.
std::string DescribeViolation(const JobFile& file, const FieldViolation& violation);

/// The job as YAML that ParseJobFile reads back to an equal message. Only fields that are set are written.
std::string FormatJobFile(const v1::JobSpec& spec);

}  // namespace regroup
