// The tokens of a whole data file, one text behind the other: in memory, or in a file that every rank, attempt and job
// maps, so that a machine holds it once and the text is tokenised once.
//
//   128 bytes of header (see token_store.cc), with the digest of what follows
//   the tokens, 2 bytes each where the vocabulary allows, otherwise 4; zeros up to a multiple of 8
//   the place of each text's first token, int64
//   of instructions also the place of each answer's first token, int64
//
// Little-endian, as everything else here. Immutable and cheap to copy; any thread may read.
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

  /// Maps a file. DATA_LOSS if it is not as long as its header says; its content is not looked at.
  static absl::StatusOr<TokenStore> Open(const std::filesystem::path& path);

  /// Reads everything. DATA_LOSS if it is not what was written.
  absl::Status Verify() const;

  int64_t tokens() const { return tokens_; }
  int64_t texts() const { return static_cast<int64_t>(starts_.size()); }
  bool has_answers() const { return !answers_.empty(); }
  std::span<const int64_t> starts() const { return starts_; }
  std::span<const int64_t> answers() const { return answers_; }
  /// Behind the last token of a text.
  int64_t End(int64_t text) const { return text + 1 < texts() ? starts_[static_cast<size_t>(text) + 1] : tokens_; }
  /// Addresses the content.
  const std::string& digest() const { return digest_; }

  /// Copies `count` ids from place `first` on.
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
  /// Where it is a file.
  std::filesystem::path path_;
  std::string_view body_;
};

/// Writes such a file text by text, in little memory; it appears by a rename when it is complete. One thread.
class TokenStoreWriter {
 public:
  /// `vocabulary`: one more than the largest id, or 0 if unknown. `instructions`: texts have answers.
  static absl::StatusOr<TokenStoreWriter> Create(const std::filesystem::path& path, int64_t vocabulary,
                                                 bool instructions);
  TokenStoreWriter(TokenStoreWriter&&) noexcept;
  TokenStoreWriter& operator=(TokenStoreWriter&&) noexcept;
  /// What is not finished is removed.
  ~TokenStoreWriter();

  /// `answer`: how many of the ids stand before the answer.
  absl::Status Add(std::span<const int32_t> ids, int64_t answer);
  int64_t tokens() const;

  /// Replaces what may be there under that name.
  absl::Status Finish();

 private:
  struct State;
  explicit TokenStoreWriter(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace regroup
