// The sentencepiece library behind plain types.
//
// The library lives in a module of its own, libregroup_sentencepiece.so, that is loaded when the first tokenizer.model
// is read: Debian's build carries and exports an old protobuf, which must not take the place of the real one.
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
  /// Null and a message in `error` for a file that is not a sentencepiece model, or where the module cannot be loaded.
  static std::unique_ptr<SentencePieceModel> Parse(std::string_view content, std::string& error);
  virtual ~SentencePieceModel() = default;

  virtual std::vector<int32_t> Encode(std::string_view text) const = 0;
  virtual std::string Decode(std::span<const int32_t> ids) const = 0;
  virtual int64_t size() const = 0;
  virtual std::optional<int32_t> bos_id() const = 0;
  virtual std::optional<int32_t> eos_id() const = 0;
  virtual std::optional<int32_t> unknown_id() const = 0;
  virtual std::string PieceOf(int32_t id) const = 0;
  /// Id of a piece of the vocabulary.
  virtual std::optional<int32_t> IdOf(std::string_view piece) const = 0;
};

/// What the module exports, as "RegroupParseSentencePiece": Parse without the loading.
using ParseSentencePiece = SentencePieceModel* (*)(std::string_view content, std::string& error);

}  // namespace regroup
