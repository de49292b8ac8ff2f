#include "trainer/data/tokenizer/pre_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/byte_level.h"
#include "trainer/data/tokenizer/regex.h"
#include "trainer/data/tokenizer/text_split.h"
#include "trainer/data/tokenizer/tokenizer_file.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

using PreTokenizerPtr = std::shared_ptr<const PreTokenizer>;

// GPT-2's pattern: contractions, words, numbers and signs with the space before them, and other white space.
constexpr char kByteLevelPattern[] = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void AppendRanges(const TextPiece& piece, const std::vector<ByteRange>& ranges, std::vector<TextPiece>& pieces) {
  for (const ByteRange& range : ranges) {
    pieces.push_back({piece.text.substr(range.begin, range.end - range.begin), piece.starts_text && range.begin == 0});
  }
}

size_t TotalBytes(const std::vector<TextPiece>& pieces) {
  size_t bytes = 0;
  for (const TextPiece& piece : pieces) bytes += piece.text.size();
  return bytes;
}

class Sequence : public PreTokenizer {
 public:
  explicit Sequence(std::vector<PreTokenizerPtr> parts) : parts_(std::move(parts)) {}
  absl::Status Cut(TextPiece piece, std::vector<TextPiece>& pieces) const override {
    const size_t bytes = piece.text.size();
    std::vector<TextPiece> current;
    current.push_back(std::move(piece));
    for (const PreTokenizerPtr& part : parts_) {
      std::vector<TextPiece> next;
      for (TextPiece& one : current) REGROUP_RETURN_IF_ERROR(part->Cut(std::move(one), next));
      current = std::move(next);
      REGROUP_RETURN_IF_ERROR(CheckTextGrowth(bytes, TotalBytes(current)));
    }
    std::move(current.begin(), current.end(), std::back_inserter(pieces));
    return absl::OkStatus();
  }

 private:
  std::vector<PreTokenizerPtr> parts_;
};

class RegexSplit : public PreTokenizer {
 public:
  RegexSplit(Regex pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  absl::Status Cut(TextPiece piece, std::vector<TextPiece>& pieces) const override {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<ByteRange> matches, pattern_.FindAll(piece.text));
    AppendRanges(piece, SplitAtMatches(piece.text.size(), matches, behavior_, invert_), pieces);
    return absl::OkStatus();
  }

 private:
  Regex pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class CharacterSplit : public PreTokenizer {
 public:
  CharacterSplit(std::function<bool(char32_t)> test, SplitBehavior behavior)
      : test_(std::move(test)), behavior_(behavior) {}
  absl::Status Cut(TextPiece piece, std::vector<TextPiece>& pieces) const override {
    const std::vector<ByteRange> matches = FindCharacters(piece.text, test_);
    AppendRanges(piece, SplitAtMatches(piece.text.size(), matches, behavior_, false), pieces);
    return absl::OkStatus();
  }

 private:
  std::function<bool(char32_t)> test_;
  SplitBehavior behavior_;
};

class ByteLevel : public PreTokenizer {
 public:
  ByteLevel(bool add_prefix_space, std::shared_ptr<const Regex> pattern)
      : add_prefix_space_(add_prefix_space), pattern_(std::move(pattern)) {}
  absl::Status Cut(TextPiece piece, std::vector<TextPiece>& pieces) const override {
    if (add_prefix_space_ && !piece.text.starts_with(' ')) piece.text.insert(0, 1, ' ');
    if (pattern_ == nullptr) {
      pieces.push_back({ToByteLevel(piece.text), piece.starts_text});
      return absl::OkStatus();
    }
    REGROUP_ASSIGN_OR_RETURN(const std::vector<ByteRange> matches, pattern_->FindAll(piece.text));
    const std::string_view text = piece.text;
    for (const ByteRange& range : SplitAtMatches(text.size(), matches, SplitBehavior::kIsolated, false)) {
      pieces.push_back(
          {ToByteLevel(text.substr(range.begin, range.end - range.begin)), piece.starts_text && range.begin == 0});
    }
    return absl::OkStatus();
  }

 private:
  bool add_prefix_space_;
  std::shared_ptr<const Regex> pattern_;
};

enum class PrependScheme { kAlways, kFirst, kNever };

/// Writes spaces as a visible character, puts one in front, and cuts before each of them.
class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool split)
      : replacement_(std::move(replacement)), scheme_(scheme), split_(split) {}
  absl::Status Cut(TextPiece piece, std::vector<TextPiece>& pieces) const override {
    const auto spaces = static_cast<size_t>(std::count(piece.text.begin(), piece.text.end(), ' '));
    REGROUP_RETURN_IF_ERROR(CheckTextGrowth(piece.text.size(), (spaces + 1) * replacement_.size()));
    TextPiece visible{WithReplacedSpaces(piece.text), piece.starts_text};
    const bool prepend = scheme_ == PrependScheme::kAlways || (scheme_ == PrependScheme::kFirst && piece.starts_text);
    if (prepend && !visible.text.starts_with(replacement_)) visible.text.insert(0, replacement_);
    if (split_) {
      AppendRanges(visible, SplitBeforeReplacements(visible.text), pieces);
    } else {
      pieces.push_back(std::move(visible));
    }
    return absl::OkStatus();
  }

 private:
  std::string WithReplacedSpaces(std::string_view text) const {
    std::string result;
    for (const char byte : text) {
      if (byte == ' ') {
        result += replacement_;
      } else {
        result += byte;
      }
    }
    return result;
  }

  std::vector<ByteRange> SplitBeforeReplacements(std::string_view text) const {
    std::vector<ByteRange> matches;
    for (size_t at = text.find(replacement_); at != std::string_view::npos;
         at = text.find(replacement_, at + replacement_.size())) {
      matches.push_back({at, at + replacement_.size()});
    }
    return SplitAtMatches(text.size(), matches, SplitBehavior::kMergedWithNext, false);
  }

  std::string replacement_;
  PrependScheme scheme_;
  bool split_;
};

absl::StatusOr<PreTokenizerPtr> ParseSequence(const nlohmann::json& parts) {
  std::vector<PreTokenizerPtr> parsed;
  for (const nlohmann::json& part : parts) {
    REGROUP_ASSIGN_OR_RETURN(parsed.emplace_back(), ParsePreTokenizer(part));
  }
  return std::make_shared<Sequence>(std::move(parsed));
}

absl::StatusOr<PreTokenizerPtr> ParseByteLevel(const nlohmann::json& json) {
  std::shared_ptr<const Regex> pattern;
  if (json.value("use_regex", true)) {
    REGROUP_ASSIGN_OR_RETURN(Regex regex, Regex::FromRuby(kByteLevelPattern));
    pattern = std::make_shared<Regex>(std::move(regex));
  }
  return std::make_shared<ByteLevel>(json.at("add_prefix_space"), pattern);
}

absl::StatusOr<PreTokenizerPtr> ParseSplit(const nlohmann::json& json) {
  REGROUP_ASSIGN_OR_RETURN(Regex pattern, ParsePattern(json.at("pattern")));
  REGROUP_ASSIGN_OR_RETURN(const SplitBehavior behavior, ParseSplitBehavior(json.at("behavior").get<std::string>()));
  return std::make_shared<RegexSplit>(std::move(pattern), behavior, json.value("invert", false));
}

absl::StatusOr<PreTokenizerPtr> ParseWhitespace() {
  REGROUP_ASSIGN_OR_RETURN(Regex pattern,
                           Regex::FromPcre(R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}]+|)"
                                           R"([^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200c}\x{200d}\p{White_Space}]+)"));
  return std::make_shared<RegexSplit>(std::move(pattern), SplitBehavior::kRemoved, true);
}

absl::StatusOr<PreTokenizerPtr> ParsePunctuation(const nlohmann::json& json) {
  REGROUP_ASSIGN_OR_RETURN(const SplitBehavior behavior,
                           ParseSplitBehavior(json.value("behavior", std::string("Isolated"))));
  constexpr std::string_view kAsciiSymbols = "$+<=>^`|~";
  return std::make_shared<CharacterSplit>(
      [kAsciiSymbols](char32_t c) {
        return IsPunctuation(c) || (c < 0x80 && kAsciiSymbols.find(static_cast<char>(c)) != std::string_view::npos);
      },
      behavior);
}

absl::StatusOr<PreTokenizerPtr> ParseCharacterDelimiter(const nlohmann::json& json) {
  const std::string delimiter = json.at("delimiter");
  if (delimiter.empty()) return absl::InvalidArgumentError("CharDelimiterSplit: \"delimiter\" is empty");
  size_t at = 0;
  const char32_t character = NextCharacter(delimiter, at);
  return std::make_shared<CharacterSplit>([character](char32_t c) { return c == character; }, SplitBehavior::kRemoved);
}

absl::StatusOr<PrependScheme> ParsePrependScheme(const nlohmann::json& json) {
  const std::string scheme = json.value("prepend_scheme", std::string("always"));
  // Older files use a boolean instead.
  if (!json.value("add_prefix_space", scheme != "never")) return PrependScheme::kNever;
  if (scheme == "always") return PrependScheme::kAlways;
  if (scheme == "first") return PrependScheme::kFirst;
  if (scheme == "never") return PrependScheme::kNever;
  return absl::InvalidArgumentError(fmt::format("prepend_scheme \"{}\" is not known", scheme));
}

absl::StatusOr<PreTokenizerPtr> ParseMetaspace(const nlohmann::json& json) {
  REGROUP_ASSIGN_OR_RETURN(const PrependScheme scheme, ParsePrependScheme(json));
  const std::string replacement = json.at("replacement");
  if (replacement.empty()) return absl::InvalidArgumentError("Metaspace: \"replacement\" is empty");
  return std::make_shared<Metaspace>(replacement, scheme, json.value("split", true));
}

}  // namespace

absl::StatusOr<PreTokenizerPtr> ParsePreTokenizer(const nlohmann::json& json) {
  if (json.is_null()) return std::make_shared<Sequence>(std::vector<PreTokenizerPtr>());
  const std::string type = json.at("type");
  if (type == "Sequence") return ParseSequence(json.at("pretokenizers"));
  if (type == "ByteLevel") return ParseByteLevel(json);
  if (type == "Split") return ParseSplit(json);
  if (type == "Metaspace") return ParseMetaspace(json);
  if (type == "Whitespace") return ParseWhitespace();
  if (type == "WhitespaceSplit") return std::make_shared<CharacterSplit>(IsWhitespace, SplitBehavior::kRemoved);
  if (type == "Punctuation") return ParsePunctuation(json);
  if (type == "CharDelimiterSplit") return ParseCharacterDelimiter(json);
  if (type == "Digits") {
    const bool individual = json.at("individual_digits");
    return std::make_shared<CharacterSplit>(IsNumeric,
                                            individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  return absl::UnimplementedError(fmt::format("pre_tokenizer \"{}\" is not supported", type));
}

}  // namespace regroup
