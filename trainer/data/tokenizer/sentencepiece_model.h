// Wraps the sentencepiece library behind plain types.
//
// The library is in a module of its own, libregroup_sentencepiece.so, which is loaded when the first tokenizer.model is
// read: Debian's build contains and exports an old protobuf, which must not replace the current one.
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
  /// Returns null and sets `error` for a file that is not a sentencepiece model, or if the module cannot be loaded.
  static std::unique_ptr<SentencePieceModel> Parse(std::string_view content, std::string& error);
  virtual ~SentencePieceModel() = default;

  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
  virtual std::string Decode(std::span<const int32_t> ids) const = 0;
  virtual int64_t size() const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;
  virtual std::optional<int32_t> unknown_id() const = 0;
  virtual std::string PieceOf(int32_t id) const = 0;
  /// Returns the id of a piece of the vocabulary.
  virtual std::optional<int32_t> IdOf(std::string_view piece) const = 0;
};

/// The function that the module exports as "RegroupParseSentencePiece": Parse without loading the module.
using ParseSentencePiece = SentencePieceModel* (*)(std::string_view content, std::string& error);

}  // namespace regroup
