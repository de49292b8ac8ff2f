// The sentencepiece library behind plain types: its header declares names in namespace absl that clash with Abseil's.
//
// Immutable; any thread may call.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace regroup {

class SentencePieceModel {
 public:
  /// Null and a message in `error` for a file that is not a sentencepiece model.
  static std::unique_ptr<SentencePieceModel> Parse(std::string_view content, std::string& error);
  ~SentencePieceModel();

  std::vector<int32_t> Encode(std::string_view text) const;
  std::string Decode(std::span<const int32_t> ids) const;
  int64_t size() const;
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  std::optional<int32_t> unknown_id() const;
  std::string PieceOf(int32_t id) const;
  /// Id of a piece of the vocabulary.
  std::optional<int32_t> IdOf(std::string_view piece) const;

 private:
  struct Library;
  explicit SentencePieceModel(std::unique_ptr<Library> library);
  std::unique_ptr<Library> library_;
};

}  // namespace regroup
