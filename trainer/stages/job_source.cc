#include "trainer/stages/job_source.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "services/common/base/file_digest.h"
#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/bounded_tokenizer.h"
#include "trainer/data/chat_template/template_files.h"
#include "trainer/model_folder/companion_files.h"
#include "trainer/stages/artifacts.h"

namespace regroup {
namespace {

nlohmann::json ToJson(const CheckpointDigests& digests) {
  return {{"config", digests.config}, {"tensors", digests.tensors}};
}

CheckpointDigests CheckpointFrom(const nlohmann::json& json) {
  CheckpointDigests digests;
  json.at("config").get_to(digests.config);
  for (const auto& [name, entry] : json.at("tensors").items()) digests.tensors[name] = entry.get<std::string>();
  return digests;
}

InspectedSource InspectedFrom(const nlohmann::json& json) {
  InspectedSource inspected{.weights = {.checkpoint = CheckpointFrom(json.at("checkpoint"))},
                            .tokenizer = json.at("tokenizer")};
  if (json.contains("compact")) inspected.weights.compact = CheckpointFrom(json.at("compact"));
  return inspected;
}

}  // namespace

absl::StatusOr<std::string> TokenizerDigest(const std::filesystem::path& folder) {
  std::string digests;
  std::vector<std::string> names = {
      "tokenizer.json",          "tokenizer.model",   "spiece.model", "tokenizer_config.json",
      "special_tokens_map.json", "added_tokens.json", "config.json"};
  REGROUP_ASSIGN_OR_RETURN(const std::vector<std::string> templates, TemplateFileNames(folder));
  names.insert(names.end(), templates.begin(), templates.end());
  for (const std::string& name : names) {
    std::error_code error;
    if (!std::filesystem::exists(folder / name, error)) continue;
    REGROUP_ASSIGN_OR_RETURN(const std::string digest, FileDigest(folder / name));
    digests += fmt::format("{} {}\n", name, digest);
  }
  return Sha256Of(digests);
}

absl::StatusOr<std::filesystem::path> KeepSourceFiles(const StageContext& context, const SourceModel& source) {
  const std::filesystem::path files = context.out() / artifacts::kSourceFiles;
  REGROUP_RETURN_IF_ERROR(MakeFolders(files));
  REGROUP_RETURN_IF_ERROR(CopyCompanionFiles(source.folder().config(), source.folder().path(), files));
  REGROUP_RETURN_IF_ERROR(WriteFileAtomically(files / "config.json", source.folder().config_text()));
  return files;
}

absl::StatusOr<std::filesystem::path> SourceFiles(const StageContext& context, const SourceModel& source) {
  if (!context.assignment.inputs().contains(kInspectRole)) return source.folder().path();
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, context.Input(kInspectRole));
  const std::filesystem::path files = folder / artifacts::kSourceFiles;
  return Exists(files) ? files : source.folder().path();
}

absl::Status WriteInspectedSource(const StageContext& context, const InspectedSource& inspected) {
  nlohmann::json json = {{"checkpoint", ToJson(inspected.weights.checkpoint)}, {"tokenizer", inspected.tokenizer}};
  if (inspected.weights.compact) json["compact"] = ToJson(*inspected.weights.compact);
  return WriteFileAtomically(context.out() / artifacts::kInspectedSource, json.dump(1) + "\n");
}

absl::StatusOr<std::optional<InspectedSource>> ReadInspectedSource(const StageContext& context) {
  if (!context.assignment.inputs().contains(kInspectRole)) return std::nullopt;
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, context.Input(kInspectRole));
  const std::filesystem::path file = folder / artifacts::kInspectedSource;
  const absl::StatusOr<std::string> text = ReadFile(file);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  REGROUP_RETURN_IF_ERROR(text.status());
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  try {
    return InspectedFrom(json);
  } catch (const nlohmann::json::exception&) {
    return absl::DataLossError(fmt::format("{} is damaged", file.string()));
  }
}

absl::StatusOr<SourceModel> OpenSource(const StageContext& context, Users users) {
  REGROUP_ASSIGN_OR_RETURN(const std::optional<InspectedSource> inspected, ReadInspectedSource(context));
  return SourceModel::Open(context.spec().source().checkpoint(), inspected ? &inspected->weights : nullptr,
                           users == Users::kAllJobs ? Compared::kCopies : Compared::kViews);
}

absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadSourceTokenizer(const StageContext& context,
                                                                     const SourceModel& source) {
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path folder, SourceFiles(context, source));
  REGROUP_ASSIGN_OR_RETURN(auto tokenizer,
                           LoadBoundedTokenizer(folder, source.config().vocabulary, source.folder().path()));
  REGROUP_ASSIGN_OR_RETURN(const std::optional<InspectedSource> inspected, ReadInspectedSource(context));
  if (!inspected || folder != source.folder().path()) return tokenizer;
  // The tokenizer is loaded already: files that change after this line change nothing.
  REGROUP_ASSIGN_OR_RETURN(const std::string now, TokenizerDigest(folder));
  if (now == inspected->tokenizer) return tokenizer;
  return absl::DataLossError(
      fmt::format("{}: the files of the tokenizer changed after they were inspected", folder.string()));
}

std::optional<std::string> InspectedDataDigest(const StageContext& context, const std::string& data) {
  const auto& digests = context.assignment.model().data_digests();
  const auto found = digests.find(data);
  return found == digests.end() ? std::nullopt : std::optional(found->second);
}

absl::Status DataChanged(const std::string& data) {
  return absl::DataLossError(fmt::format("{} changed after it was inspected; submit the job again", data));
}

}  // namespace regroup
