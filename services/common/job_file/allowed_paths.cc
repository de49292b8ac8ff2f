#include "services/common/job_file/allowed_paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "services/common/job_file/path_fields.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Roots = std::vector<fs::path>;

constexpr char kOutputField[] = "output.checkpoint";

bool LiesUnder(const fs::path& root, const fs::path& path) {
  const auto [at_root, at_path] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  // "/data/" ends with an empty name.
  return at_root == root.end() || (at_root->empty() && std::next(at_root) == root.end());
}

/// Every symbolic link on the way resolved; what does not exist yet is taken as written.
fs::path Resolved(const fs::path& path, std::error_code& error) { return fs::weakly_canonical(path, error); }

bool IsUnderOneOf(const Roots& roots, const fs::path& path) {
  std::error_code error;
  const fs::path resolved = Resolved(path, error);
  if (error) return false;
  return std::any_of(roots.begin(), roots.end(), [&](const fs::path& root) {
    std::error_code ignored;
    return LiesUnder(Resolved(root, ignored), resolved);
  });
}

std::string ListOf(const Roots& roots) {
  std::string list;
  for (const fs::path& root : roots) list += (list.empty() ? "" : ", ") + root.string();
  return list;
}

}  // namespace

std::vector<FieldViolation> CheckAllowedPaths(const v1::JobSpec& spec, const AllowedPaths& allowed) {
  std::vector<FieldViolation> violations;
  v1::JobSpec copy = spec;
  ForEachPath(copy, [&](const std::string& field, const std::string& path) {
    const Roots& roots = field == kOutputField ? allowed.output_roots : allowed.data_roots;
    if (roots.empty() || IsUnderOneOf(roots, path)) return;
    FieldViolation& violation = violations.emplace_back();
    violation.set_field(field);
    violation.set_description(fmt::format(
        "'{}' is not, or does not lead, into a folder that this cluster allows; use {}", path, ListOf(roots)));
  });
  return violations;
}

}  // namespace regroup
