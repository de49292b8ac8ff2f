// Converts text to token ids and back, as the checkpoint's own tokenizer files define it.
//
// Tokenizers are immutable; any thread may call any function, several at once.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "trainer/data/chat_template/chat_template.h"

namespace regroup {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Returns the ids of `text` with the tokenizer's own post-processing, which may add a begin or an end token.
  /// INVALID_ARGUMENT if the text is not UTF-8.
  virtual absl::StatusOr<std::vector<int32_t>> Encode(std::string_view text) const = 0;
  /// Returns the ids of `text` without post-processing; special tokens written in the text are still recognised.
  virtual absl::StatusOr<std::vector<int32_t>> EncodeOrdinary(std::string_view text) const = 0;
  /// Returns the text of the ids, including special tokens. INVALID_ARGUMENT for an id that is not in the vocabulary.
  virtual absl::StatusOr<std::string> Decode(std::span<const int32_t> ids) const = 0;

  /// Returns the text of a conversation by the chat template of the tokenizer's folder; its tokens are those of
  /// EncodeOrdinary. Returns the errors of ChatTemplate::Load and Render; NOT_FOUND without a folder.
  virtual absl::StatusOr<std::string> Render(const Conversation& /*conversation*/) const {
    return absl::NotFoundError("there is no chat template");
  }

  /// Return the begin-of-sequence and end-of-sequence tokens that the folder names.
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;
  /// Returns one more than the largest id.
  virtual int64_t vocabulary_size() const = 0;
};

/// Reads tokenizer.json if the folder has one, else tokenizer.model (sentencepiece, with the conventions of LLaMA
/// folders), the tokens that only tokenizer_config.json, special_tokens_map.json or added_tokens.json names, and the
/// begin and end tokens from these files or config.json. NOT_FOUND
/// for a folder without either; INVALID_ARGUMENT for a malformed file; UNIMPLEMENTED names the file and the component
/// that is not supported.
/// The tokenizer's later errors name the file in `original`, if the folder holds copies of that folder's files.
absl::StatusOr<std::shared_ptr<const Tokenizer>> LoadTokenizer(const std::filesystem::path& folder,
                                                               const std::filesystem::path& original = {});

}  // namespace regroup
