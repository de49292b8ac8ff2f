// The tokenizer of a tokenizer.model or spiece.model, with the conventions of Hugging Face folders.
//
// The model's begin, end and unknown pieces, and the tokens that the folder's other files add, are found in the text
// first; sentencepiece encodes each part between them. Immutable; any thread may call.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/tokenizer.h"
#include "trainer/data/tokenizer/added_tokens.h"
#include "trainer/data/tokenizer/added_vocabulary.h"
#include "trainer/data/tokenizer/sentencepiece_model.h"
#include "trainer/data/tokenizer/special_ids.h"

namespace regroup {

class SentencePieceTokenizer : public Tokenizer {
 public:
  /// Opens `file` in `folder`: tokenizer.model (LLaMA: a begin token before the text unless "add_bos_token" is false,
  /// an end token after it if "add_eos_token" is true) or spiece.model (T5: an end token, no begin token).
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> Open(const std::filesystem::path& folder,
                                                               const std::string& file);

  absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const override;
  absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const override;
  absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const override;
  std::optional<int32_t> bos_id() const override { return special_.bos; }
  std::optional<int32_t> eos_id() const override { return special_.eos; }
  int64_t vocabulary_size() const override;

 private:
  explicit SentencePieceTokenizer(std::unique_ptr<SentencePieceModel> model) : model_(std::move(model)) {}
  absl::Status AddModelTokens();
  AddedVocabulary::ModelIds ModelIds() const;
  std::optional<int32_t> IdOf(std::string_view token) const;

  std::unique_ptr<SentencePieceModel> model_;
  AddedVocabulary added_;
  AddedTokenFinder finder_;
  SpecialIds special_;
  bool adds_bos_ = false;
  bool adds_eos_ = false;
};

}  // namespace regroup
