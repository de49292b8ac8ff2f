// LoadTokenizer: chooses which file of a folder to read the tokenizer from.
#include <fmt/format.h>

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer.h"
#include "trainer/data/tokenizer/configured_tokens.h"
#include "trainer/data/tokenizer/json_tokenizer.h"
#include "trainer/data/tokenizer/sentencepiece_tokenizer.h"
#include "trainer/data/tokenizer/special_ids.h"
#include "trainer/data/tokenizer/tokenizer_file.h"

namespace regroup {
namespace {

using TokenizerPtr = std::shared_ptr<const Tokenizer>;

absl::StatusOr<TokenizerPtr> LoadJson(const std::filesystem::path& folder, const std::filesystem::path& original) {
  const std::filesystem::path path = folder / "tokenizer.json";
  REGROUP_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJsonObject(path));
  absl::StatusOr<std::shared_ptr<JsonTokenizer>> tokenizer = JsonTokenizer::Parse(json);
  if (!tokenizer.ok()) {
    return absl::Status(tokenizer.status().code(),
                        fmt::format("{}: {}", path.string(), std::string(tokenizer.status().message())));
  }
  REGROUP_ASSIGN_OR_RETURN(ConfiguredTokens tokens,
                           ReadConfiguredTokens(folder, json.value("added_tokens", nlohmann::json::array())));
  REGROUP_RETURN_IF_ERROR((*tokenizer)->AddConfiguredTokens(std::move(tokens)));
  REGROUP_ASSIGN_OR_RETURN(const SpecialIds ids, ReadSpecialIds(folder, [&tokenizer](std::string_view token) {
                             return (*tokenizer)->IdOf(token);
                           }));
  (*tokenizer)->SetSpecialIds(ids);
  (*tokenizer)->SetFile((original / path.filename()).string());
  return *std::move(tokenizer);
}

/// Returns the name of the folder's sentencepiece model; empty if there is none.
std::string SentencePieceFile(const std::filesystem::path& folder) {
  for (const char* name : {"tokenizer.model", "spiece.model"}) {
    std::error_code error;
    if (std::filesystem::exists(folder / name, error)) return name;
  }
  return "";
}

}  // namespace

absl::StatusOr<TokenizerPtr> LoadTokenizer(const std::filesystem::path& folder, const std::filesystem::path& original) {
  absl::StatusOr<TokenizerPtr> tokenizer = LoadJson(folder, original.empty() ? folder : original);
  const bool is_missing = absl::IsNotFound(tokenizer.status());
  if (!is_missing && !absl::IsUnimplemented(tokenizer.status())) return tokenizer;
  // A folder with both files describes the same tokenizer twice, so an unsupported tokenizer.json is replaced by the
  // other.
  const std::string sentencepiece = SentencePieceFile(folder);
  if (!sentencepiece.empty()) return SentencePieceTokenizer::Open(folder, sentencepiece);
  if (!is_missing) return tokenizer;
  return absl::NotFoundError(
      fmt::format("{} has no tokenizer: neither tokenizer.json nor tokenizer.model; save the tokenizer there with "
                  "save_pretrained(folder) in Transformers",
                  folder.string()));
}

}  // namespace regroup
