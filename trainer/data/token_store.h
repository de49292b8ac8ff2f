// The tokens of a whole data file, one text after the other: in memory, or in a file that every rank, attempt and job
// maps, so that a machine holds it once and the text is tokenised once.
//
//   128 bytes of header (see token_store.cc), with the digest of the rest
//   the tokens, 2 bytes each if the vocabulary allows it, otherwise 4; zeros up to a multiple of 8
//   the position of each text's first token, int64
//   for instructions also the position of each answer's first token, int64
//
// Little-endian, like all binary files here. Immutable and cheap to copy; any thread may read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace regroup {

class TokenStore {
 public:
  /// `answers` is empty for plain texts.
  static TokenStore InMemory(std::vector<int32_t> tokens, std::vector<int64_t> starts, std::vector<int64_t> answers);

  /// Maps a file. DATA_LOSS if its length differs from what its header says; the content is not checked.
  static absl::StatusOr<TokenStore> Open(const std::filesystem::path& path);

  /// Reads the whole file. DATA_LOSS if the content does not match its digest.
  absl::Status Verify() const;

  int64_t tokens() const { return tokens_; }
  int64_t texts() const { return static_cast<int64_t>(starts_.size()); }
  bool has_answers() const { return !answers_.empty(); }
  std::span<const int64_t> starts() const { return starts_; }
  std::span<const int64_t> answers() const { return answers_; }
  /// Returns the position after the last token of a text.
  int64_t End(int64_t text) const { return text + 1 < texts() ? starts_[static_cast<size_t>(text) + 1] : tokens_; }
  /// Identifies the content.
  const std::string& digest() const { return digest_; }

  /// Copies `count` ids, starting at position `first`.
  template <typename Id>
  void Copy(int64_t first, int64_t count, Id* ids) const {
    const char* const bytes = data_ + first * element_bytes_;
    if (element_bytes_ == 2) {
      const auto* narrow = reinterpret_cast<const uint16_t*>(bytes);
      for (int64_t i = 0; i < count; ++i) ids[i] = narrow[i];
    } else {
      const auto* wide = reinterpret_cast<const int32_t*>(bytes);
      for (int64_t i = 0; i < count; ++i) ids[i] = wide[i];
    }
  }

 private:
  TokenStore() = default;

  std::shared_ptr<const void> owner_;
  const char* data_ = nullptr;
  int64_t tokens_ = 0;
  int64_t element_bytes_ = 4;
  std::span<const int64_t> starts_, answers_;
  std::string digest_;
  /// Path of the file; empty for tokens in memory.
  std::filesystem::path path_;
  std::string_view body_;
};

/// Writes such a file text by text, using little memory. The file appears by a rename when it is complete. One thread.
class TokenStoreWriter {
 public:
  /// `vocabulary` is one more than the largest id, or 0 if unknown. `instructions` says that texts have answers.
  static absl::StatusOr<TokenStoreWriter> Create(const std::filesystem::path& path, int64_t vocabulary,
                                                 bool instructions);
  TokenStoreWriter(TokenStoreWriter&&) noexcept;
  TokenStoreWriter& operator=(TokenStoreWriter&&) noexcept;
  /// Removes an unfinished file.
  ~TokenStoreWriter();

  /// `answer` is the number of ids before the answer.
  absl::Status Add(std::span<const int32_t> ids, int64_t answer);
  int64_t tokens() const;

  /// Replaces an existing file of that name.
  absl::Status Finish();

 private:
  struct State;
  explicit TokenStoreWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace regroup
