#include "services/common/job_file/allowed_paths.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "services/common/base/input_file.h"
#include "services/common/job_file/address.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using Roots = std::vector<fs::path>;

constexpr char kOutputField[] = "output.checkpoint";

/// Returns the path with all symbolic links resolved; parts that do not exist yet stay as written.
fs::path Resolved(const fs::path& path, std::error_code& error) { return fs::weakly_canonical(path, error); }

bool IsUnderOneOf(const Roots& roots, const fs::path& path) {
  std::error_code error;
  const fs::path resolved = Resolved(path, error);
  if (error) return false;
  return std::any_of(roots.begin(), roots.end(), [&](const fs::path& root) {
    std::error_code ignored;
    return LiesBeneath(Resolved(root, ignored), resolved);
  });
}

std::string ListOf(const Roots& roots) {
  std::string list;
  for (const fs::path& root : roots) list += (list.empty() ? "" : ", ") + root.string();
  return list;
}

/// Returns what is wrong with the address; empty if it is allowed.
std::string DoubtAbout(const std::string& address, const std::vector<std::string>& prefixes) {
  if (IsBelowOneOf(address, prefixes)) return "";
  if (prefixes.empty()) {
    return fmt::format("'{}' is an address, and this cluster allows none; its operator can, with --allow-remote",
                       address);
  }
  return fmt::format("'{}' does not begin with a prefix that this cluster allows; allowed: {}", address,
                     fmt::join(prefixes, ", "));
}

}  // namespace

void ForEachPath(v1::JobSpec& spec, const std::function<void(const std::string& field, std::string& path)>& visit) {
  const auto visit_written = [&](const std::string& field, std::string* path) {
    if (!path->empty()) visit(field, *path);
  };
  const auto visit_data = [&](const std::string& section, auto* message) {
    visit_written(section + ".data", message->mutable_data());
    for (int i = 0; i < message->data_files_size(); ++i) {
      visit_written(fmt::format("{}.data_files[{}]", section, i), message->mutable_data_files(i));
    }
  };
  if (spec.has_source()) visit_written("source.checkpoint", spec.mutable_source()->mutable_checkpoint());
  if (spec.has_calibration()) visit_data("calibration", spec.mutable_calibration());
  if (spec.has_layerwise()) visit_data("layerwise", spec.mutable_layerwise());
  if (spec.has_finetune()) visit_data("finetune", spec.mutable_finetune());
  if (spec.has_output()) {
    visit_written("output.checkpoint", spec.mutable_output()->mutable_checkpoint());
    visit_written("output.also", spec.mutable_output()->mutable_also());
  }
  if (!spec.has_evaluation()) return;
  v1::Evaluation& evaluation = *spec.mutable_evaluation();
  if (evaluation.has_perplexity()) visit_data("evaluation.perplexity", evaluation.mutable_perplexity());
  for (int i = 0; i < evaluation.multiple_choice_size(); ++i) {
    visit_written(fmt::format("evaluation.multiple_choice[{}].data", i),
                  evaluation.mutable_multiple_choice(i)->mutable_data());
  }
}

std::vector<FieldViolation> CheckAllowedPaths(const v1::JobSpec& spec, const AllowedPaths& allowed) {
  std::vector<FieldViolation> violations;
  v1::JobSpec copy = spec;
  ForEachPath(copy, [&](const std::string& field, const std::string& path) {
    if (IsAddress(path)) {
      const std::string doubt = DoubtAbout(path, allowed.address_prefixes);
      if (!doubt.empty()) {
        violations.emplace_back().set_field(field);
        violations.back().set_description(doubt);
      }
      return;
    }
    const Roots& roots = field == kOutputField ? allowed.output_roots : allowed.data_roots;
    if (roots.empty() || IsUnderOneOf(roots, path)) return;
    FieldViolation& violation = violations.emplace_back();
    violation.set_field(field);
    violation.set_description(
        fmt::format("'{}' is not, or does not resolve to, a path in a folder that this cluster allows; allowed: {}",
                    path, ListOf(roots)));
  });
  return violations;
}

std::vector<std::string> DoubtsAbout(const AllowedPaths& allowed, const std::filesystem::path& work_folder) {
  std::vector<std::string> doubts;
  for (const auto& [flag, roots] :
       {std::pair("--data-root", &allowed.data_roots), {"--output-root", &allowed.output_roots}}) {
    for (const std::filesystem::path& root : *roots) {
      std::error_code error;
      if (!std::filesystem::is_directory(root, error)) {
        doubts.push_back(fmt::format("{} {} is not a folder of this machine", flag, root.string()));
      } else if (!work_folder.empty() && IsUnderOneOf({root}, work_folder)) {
        doubts.push_back(fmt::format("{} {} holds the working folder, so jobs may use what other jobs left there", flag,
                                     root.string()));
      }
    }
  }
  return doubts;
}

}  // namespace regroup
