#include "trainer/data/tokenizer/normalizer.h"

#include <fmt/format.h>
#include <unicode/brkiter.h>
#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/normalizer2.h>

#include <algorithm>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/byte_level.h"
#include "trainer/data/tokenizer/precompiled_charsmap.h"
#include "trainer/data/tokenizer/regex.h"
#include "trainer/data/tokenizer/tokenizer_file.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

using NormalizerPtr = std::shared_ptr<const Normalizer>;

bool IsAscii(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char byte) { return static_cast<unsigned char>(byte) < 0x80; });
}

class Sequence : public Normalizer {
 public:
  explicit Sequence(std::vector<NormalizerPtr> parts) : parts_(std::move(parts)) {}
  absl::StatusOr<TextPiece> Normalize(TextPiece piece) const override {
    const size_t bytes = piece.text.size();
    for (const NormalizerPtr& part : parts_) {
      REGROUP_ASSIGN_OR_RETURN(piece, part->Normalize(std::move(piece)));
      REGROUP_RETURN_IF_ERROR(CheckTextGrowth(bytes, piece.text.size()));
    }
    return piece;
  }

 private:
  std::vector<NormalizerPtr> parts_;
};

/// Implements Unicode's four normal forms with ICU. ASCII text is already in all of them.
class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(const icu::Normalizer2* form) : form_(form) {}
  absl::StatusOr<TextPiece> Normalize(TextPiece piece) const override {
    const std::string& text = piece.text;
    if (IsAscii(text)) return piece;
    std::string result;
    icu::StringByteSink<std::string> sink(&result);
    UErrorCode error = U_ZERO_ERROR;
    form_->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, error);
    if (U_FAILURE(error)) return absl::InternalError(fmt::format("Unicode normalisation: {}", u_errorName(error)));
    return TextPiece{std::move(result), piece.starts_text};
  }

 private:
  const icu::Normalizer2* form_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  absl::StatusOr<TextPiece> Normalize(TextPiece piece) const override {
    if (piece.text.empty()) return piece;
    REGROUP_RETURN_IF_ERROR(CheckTextGrowth(piece.text.size(), piece.text.size() + prefix_.size()));
    piece.text.insert(0, prefix_);
    return piece;
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  absl::StatusOr<TextPiece> Normalize(TextPiece piece) const override {
    const std::string& text = piece.text;
    REGROUP_ASSIGN_OR_RETURN(const std::vector<ByteRange> matches, pattern_.FindAll(text));
    if (matches.empty()) return piece;
    REGROUP_RETURN_IF_ERROR(CheckTextGrowth(text.size(), matches.size() * content_.size()));
    std::string result;
    size_t end = 0;
    for (const ByteRange& match : matches) {
      result.append(text, end, match.begin - end).append(content_);
      end = match.end;
    }
    result.append(text, end);
    // The reference implementation takes the place of a replacement for that of the last character it replaces.
    const size_t first_end = matches.front().begin == 0 ? matches.front().end : 0;
    const bool keeps_start = first_end == 0 || (!content_.empty() && first_end <= CharacterBytes(text[0]));
    return TextPiece{std::move(result), piece.starts_text && keeps_start};
  }

 private:
  Regex pattern_;
  std::string content_;
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  absl::StatusOr<TextPiece> Normalize(TextPiece piece) const override {
    const std::string& text = piece.text;
    size_t begin = text.size(), end = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t start = at;
      if (IsWhitespace(NextCharacter(text, at))) continue;
      begin = std::min(begin, start);
      end = at;
    }
    if (begin == text.size() && (left_ || right_)) return TextPiece();
    const size_t first = left_ ? begin : 0;
    return TextPiece{text.substr(first, (right_ ? end : text.size()) - first), piece.starts_text && first == 0};
  }

 private:
  bool left_, right_;
};

/// Replaces texts by a sentencepiece model's character map: a short grapheme cluster as a whole where the map has it,
/// otherwise each of its characters.
class Precompiled : public Normalizer {
 public:
  Precompiled(PrecompiledCharsmap map, std::unique_ptr<const icu::BreakIterator> clusters)
      : map_(std::move(map)), clusters_(std::move(clusters)) {}

  absl::StatusOr<TextPiece> Normalize(TextPiece piece) const override {
    const std::string& text = piece.text;
    UErrorCode error = U_ZERO_ERROR;
    UText view = UTEXT_INITIALIZER;
    utext_openUTF8(&view, text.data(), static_cast<int64_t>(text.size()), &error);
    const std::unique_ptr<icu::BreakIterator> clusters(clusters_->clone());
    clusters->setText(&view, error);
    std::string result;
    int32_t begin = clusters->first();
    for (int32_t end = clusters->next(); end != icu::BreakIterator::DONE; begin = end, end = clusters->next()) {
      AppendCluster(std::string_view(text).substr(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
                    result);
    }
    utext_close(&view);
    if (U_FAILURE(error)) return absl::InternalError(fmt::format("grapheme clusters: {}", u_errorName(error)));
    REGROUP_RETURN_IF_ERROR(CheckTextGrowth(text.size(), result.size()));
    return TextPiece{std::move(result), piece.starts_text};
  }

 private:
  void AppendCluster(std::string_view cluster, std::string& result) const {
    constexpr size_t kShort = 6;
    if (cluster.size() < kShort) {
      if (const auto replacement = map_.Find(cluster)) {
        result += *replacement;
        return;
      }
    }
    for (size_t at = 0; at < cluster.size();) {
      const std::string_view character = cluster.substr(at, CharacterBytes(cluster[at]));
      result += map_.Find(character).value_or(character);
      at += character.size();
    }
  }

  PrecompiledCharsmap map_;
  /// Never used itself: each call clones it, because an iterator has a position.
  std::unique_ptr<const icu::BreakIterator> clusters_;
};

/// Replaces each character by a text of its own, which may be empty.
class EachCharacter : public Normalizer {
 public:
  explicit EachCharacter(void (*append)(char32_t character, std::string& text)) : append_(append) {}
  absl::StatusOr<TextPiece> Normalize(TextPiece piece) const override {
    TextPiece result{"", piece.starts_text};
    for (size_t at = 0; at < piece.text.size();) {
      const bool is_first = at == 0;
      append_(NextCharacter(piece.text, at), result.text);
      if (is_first && result.text.empty()) result.starts_text = false;
    }
    return result;
  }

 private:
  void (*append_)(char32_t character, std::string& text);
};

class ByteLevel : public Normalizer {
 public:
  absl::StatusOr<TextPiece> Normalize(TextPiece piece) const override {
    return TextPiece{ToByteLevel(piece.text), piece.starts_text};
  }
};

// Both lists are those of sentencepiece's "nmt" rule.
void AppendWithoutControls(char32_t c, std::string& text) {
  const bool is_control =
      (c >= 1 && c <= 8) || c == 0xb || (c >= 0xe && c <= 0x1f) || c == 0x7f || c == 0x8f || c == 0x9f;
  if (is_control) return;
  constexpr char32_t kSpaces[] = {0x9, 0xa, 0xc, 0xd, 0x1680, 0x2028, 0x2029, 0x2581, 0xfeff, 0xfffd};
  const bool is_space = std::find(std::begin(kSpaces), std::end(kSpaces), c) != std::end(kSpaces);
  AppendCharacter(is_space || (c >= 0x200b && c <= 0x200f) ? U' ' : c, text);
}

void AppendLowercase(char32_t character, std::string& text) {
  std::string one;
  AppendCharacter(character, one);
  icu::StringByteSink<std::string> sink(&text);
  UErrorCode error = U_ZERO_ERROR;
  icu::CaseMap::utf8ToLower("", 0, icu::StringPiece(one.data(), static_cast<int32_t>(one.size())), sink, nullptr,
                            error);
}

void AppendUnlessMark(char32_t character, std::string& text) {
  if (!IsMark(character)) AppendCharacter(character, text);
}

absl::StatusOr<NormalizerPtr> ParsePrecompiled(const nlohmann::json& json) {
  std::string bytes;
  if (!absl::Base64Unescape(json.at("precompiled_charsmap").get<std::string>(), &bytes)) {
    return absl::InvalidArgumentError("precompiled_charsmap is not base64");
  }
  REGROUP_ASSIGN_OR_RETURN(PrecompiledCharsmap map, PrecompiledCharsmap::Parse(bytes));
  UErrorCode error = U_ZERO_ERROR;
  std::unique_ptr<const icu::BreakIterator> clusters(
      icu::BreakIterator::createCharacterInstance(icu::Locale::getRoot(), error));
  if (U_FAILURE(error)) return absl::InternalError(fmt::format("grapheme clusters: {}", u_errorName(error)));
  return std::make_shared<Precompiled>(std::move(map), std::move(clusters));
}

absl::StatusOr<NormalizerPtr> ParseSequence(const nlohmann::json& parts) {
  std::vector<NormalizerPtr> parsed;
  for (const nlohmann::json& part : parts) {
    REGROUP_ASSIGN_OR_RETURN(parsed.emplace_back(), ParseNormalizer(part));
  }
  return std::make_shared<Sequence>(std::move(parsed));
}

const icu::Normalizer2* FormOf(const std::string& type) {
  UErrorCode error = U_ZERO_ERROR;
  if (type == "NFC") return icu::Normalizer2::getNFCInstance(error);
  if (type == "NFD") return icu::Normalizer2::getNFDInstance(error);
  if (type == "NFKC") return icu::Normalizer2::getNFKCInstance(error);
  if (type == "NFKD") return icu::Normalizer2::getNFKDInstance(error);
  return nullptr;
}

}  // namespace

absl::StatusOr<NormalizerPtr> ParseNormalizer(const nlohmann::json& json) {
  if (json.is_null()) return std::make_shared<Sequence>(std::vector<NormalizerPtr>());
  const std::string type = json.at("type");
  if (const icu::Normalizer2* form = FormOf(type)) return std::make_shared<UnicodeForm>(form);
  if (type == "Sequence") return ParseSequence(json.at("normalizers"));
  if (type == "Prepend") return std::make_shared<Prepend>(json.at("prepend").get<std::string>());
  if (type == "Precompiled") return ParsePrecompiled(json);
  if (type == "Nmt") return std::make_shared<EachCharacter>(AppendWithoutControls);
  if (type == "Lowercase") return std::make_shared<EachCharacter>(AppendLowercase);
  if (type == "StripAccents") return std::make_shared<EachCharacter>(AppendUnlessMark);
  if (type == "ByteLevel") return std::make_shared<ByteLevel>();
  if (type == "Strip") return std::make_shared<Strip>(json.at("strip_left"), json.at("strip_right"));
  if (type == "Replace") {
    REGROUP_ASSIGN_OR_RETURN(Regex pattern, ParsePattern(json.at("pattern")));
    return std::make_shared<Replace>(std::move(pattern), json.at("content").get<std::string>());
  }
  return absl::UnimplementedError(fmt::format("normalizer \"{}\" is not supported", type));
}

}  // namespace regroup
