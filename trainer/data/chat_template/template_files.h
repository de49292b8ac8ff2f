// Finds a folder's chat templates and the variables that Transformers gives to them. Pure functions, for any thread.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

struct TemplateText {
  /// For messages: the path of the file, and the name of the template where a file has several.
  std::string file;
  std::string text;
};

struct TemplateFiles {
  /// The template named "default", or the only one.
  std::optional<TemplateText> plain;
  /// The one that conversations with tools use, if there is one named "tool_use".
  std::optional<TemplateText> with_tools;
  /// bos_token and the like, by their names.
  std::map<std::string, std::string> tokens;
  /// Tokens that no file names, with the reason why it is unknown whether Transformers gives them.
  std::map<std::string, std::string> unknown;
};

/// Returns NOT_FOUND for a folder without a template, INVALID_ARGUMENT for malformed files.
absl::StatusOr<TemplateFiles> FindTemplates(const std::filesystem::path& folder, const std::filesystem::path& original);

/// Returns the names of the folder's files that may hold a template, besides tokenizer_config.json, in order. They need
/// not exist.
absl::StatusOr<std::vector<std::string>> TemplateFileNames(const std::filesystem::path& folder);

}  // namespace regroup
