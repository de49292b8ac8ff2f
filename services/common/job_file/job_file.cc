#include "services/common/job_file/job_file.h"

#include <fmt/format.h>

#include <filesystem>

#include "absl/status/status.h"
#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"
#include "services/common/job_file/message_reader.h"
#include "services/common/job_file/path_fields.h"

namespace regroup {
namespace {

/// Makes the job's paths absolute; what cannot be resolved becomes a mistake.
void ResolvePaths(JobFile& file, std::vector<std::string>& mistakes) {
  const std::filesystem::path folder = std::filesystem::absolute(file.file_name).parent_path();
  ForEachPath(file.spec, [&](const std::string& field, std::string& path) {
    if (path.front() == '~') {
      mistakes.push_back(AtPosition(file.file_name, file.positions.at(field),
                                    fmt::format("{}: '~' is not expanded; write the whole path", field)));
    } else if (path.front() != '/') {
      path = (folder / path).lexically_normal().string();
      if (path.size() > 1 && path.back() == '/') path.pop_back();
    }
  });
}

std::string JoinLines(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "\n") + line;
  return text;
}

/// "a.b[0].c" -> "a.b[0]" -> "a.b" -> "a" -> "".
std::string ParentPath(const std::string& path) {
  const size_t end = path.find_last_of(".[");
  return end == std::string::npos ? "" : path.substr(0, end);
}

}  // namespace

absl::StatusOr<JobFile> ParseJobFileWithPositions(std::string_view text, std::string_view file_name) {
  REGROUP_ASSIGN_OR_RETURN(const YamlNode root, ParseYamlTree(text, file_name));
  JobFile file;
  file.file_name = std::string(file_name);
  MessageReader reader(file_name);
  reader.Read(root, file.spec);
  file.positions = reader.positions();
  std::vector<std::string> mistakes = reader.mistakes();
  ResolvePaths(file, mistakes);
  if (!mistakes.empty()) return absl::InvalidArgumentError(JoinLines(mistakes));
  return file;
}

absl::StatusOr<v1::JobSpec> ParseJobFile(std::string_view text, std::string_view file_name) {
  REGROUP_ASSIGN_OR_RETURN(JobFile file, ParseJobFileWithPositions(text, file_name));
  return std::move(file.spec);
}

absl::StatusOr<JobFile> ReadJobFile(const std::string& path) {
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJobFileWithPositions(text, path);
}

std::string DescribeViolation(const JobFile& file, const FieldViolation& violation) {
  for (std::string path = violation.field(); !path.empty(); path = ParentPath(path)) {
    const auto found = file.positions.find(path);
    if (found == file.positions.end()) continue;
    return AtPosition(file.file_name, found->second, fmt::format("{}: {}", violation.field(), violation.description()));
  }
  return fmt::format("{}: {}: {}", file.file_name, violation.field(), violation.description());
}

}  // namespace regroup
