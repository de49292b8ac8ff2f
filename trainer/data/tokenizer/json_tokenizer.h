// The tokenizer of a tokenizer.json: added tokens, normalizer, pre_tokenizer, model, post_processor, decoder.
//
// The file's "truncation" and "padding" are ignored: whole texts are encoded. Immutable; any thread may call.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer.h"
#include "trainer/data/tokenizer/added_tokens.h"
#include "trainer/data/tokenizer/added_vocabulary.h"
#include "trainer/data/tokenizer/configured_tokens.h"
#include "trainer/data/tokenizer/normalizer.h"
#include "trainer/data/tokenizer/piece_model.h"
#include "trainer/data/tokenizer/post_processor.h"
#include "trainer/data/tokenizer/pre_tokenizer.h"
#include "trainer/data/tokenizer/special_ids.h"
#include "trainer/data/tokenizer/token_decoder.h"

namespace regroup {

class JsonTokenizer : public Tokenizer {
 public:
  /// Parses the file. UNIMPLEMENTED names the component that is not supported; INVALID_ARGUMENT says what is malformed.
  static absl::StatusOr<std::shared_ptr<JsonTokenizer>> Parse(const nlohmann::json& json);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override;
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override;
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override;
  std::optional<int32_t> bos_id() const override { return special_.bos; }
  std::optional<int32_t> eos_id() const override { return special_.eos; }
  int64_t vocabulary_size() const override;

  /// Returns the id of a token's text, including added tokens.
  std::optional<int32_t> IdOf(std::string_view token) const;
  /// Adds tokens of the folder's other files. Must be called before the tokenizer is shared.
  absl::Status AddConfiguredTokens(ConfiguredTokens tokens);
  /// Must be called before the tokenizer is shared.
  void SetSpecialIds(SpecialIds ids) { special_ = ids; }
  /// Sets the file that errors of the tokenizer's own steps name. Must be called before the tokenizer is shared.
  void SetFile(std::string file) { file_ = std::move(file); }

 private:
  explicit JsonTokenizer(std::unique_ptr<PieceModel> model) : model_(std::move(model)) {}
  absl::Status ParseAddedTokens(const nlohmann::json& tokens);
  /// Checks that the tokens which the post-processor adds to every text exist.
  absl::Status CheckPostProcessor() const;
  absl::Status BuildFinders();
  AddedVocabulary::ModelIds ModelIds() const;
  /// Returns the error with the tokenizer's file before it.
  absl::Status AtFile(const absl::Status& status) const;
  absl::Status AppendNormalized(std::string_view part, bool starts_text, std::vector<int32_t>& ids) const;
  absl::Status AppendPieces(TextPiece piece, std::vector<int32_t>& ids) const;

  std::unique_ptr<PieceModel> model_;
  std::shared_ptr<const Normalizer> normalizer_;
  std::shared_ptr<const PreTokenizer> pre_tokenizer_;
  std::shared_ptr<const PostProcessor> post_processor_;
  /// Holds an error if the file's decoder is not supported; encoding works nevertheless.
  absl::StatusOr<std::shared_ptr<const TokenDecoder>> decoder_ = absl::UnknownError("");
  /// All added tokens, including those that the model's vocabulary contains too.
  AddedVocabulary added_;
  AddedTokenFinder raw_finder_;
  AddedTokenFinder normalized_finder_;
  SpecialIds special_;
  std::string file_;
};

}  // namespace regroup
