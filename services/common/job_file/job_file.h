// The job file: a JobSpec written as YAML with the same field names.
//
// Reading is strict: unknown keys, duplicate keys, anchors, aliases, tags and values of another type are rejected with
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

/// A job with the position of each of its keys, so that later errors can name the line too.
struct JobFile {
  std::string file_name;
  v1::JobSpec spec;
  /// Positions by path: "finetune.steps", "evaluation.multiple_choice[0].data".
  std::map<std::string, Position> positions;
};

/// Reads the text of a job file. Relative paths in it are resolved against the folder of `file_name`. INVALID_ARGUMENT
/// reports all mistakes together, one per line.
absl::StatusOr<JobFile> ParseJobFileWithPositions(std::string_view text, std::string_view file_name);

/// Like ParseJobFileWithPositions, without the positions.
absl::StatusOr<v1::JobSpec> ParseJobFile(std::string_view text, std::string_view file_name);

/// Reads a file and parses it by ParseJobFileWithPositions. NOT_FOUND and similar errors if it cannot be read.
absl::StatusOr<JobFile> ReadJobFile(const std::string& path);

/// Returns "file:line:column: finetune.steps: message" for a violation; a missing key gets the position of the nearest
/// parent that is written.
std::string DescribeViolation(const JobFile& file, const FieldViolation& violation);

/// Returns the job as YAML that ParseJobFile reads back as an equal message. Writes only fields that are set.
std::string FormatJobFile(const v1::JobSpec& spec);

}  // namespace regroup
