#include "trainer/data/tokenizer/token_decoder.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/byte_level.h"
#include "trainer/data/tokenizer/regex.h"
#include "trainer/data/tokenizer/tokenizer_file.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

using TokenDecoderPtr = std::shared_ptr<const TokenDecoder>;
using Texts = std::vector<std::string>;

size_t TotalBytes(const Texts& texts) {
  size_t bytes = 0;
  for (const std::string& text : texts) bytes += text.size();
  return bytes;
}

class Sequence : public TokenDecoder {
 public:
  explicit Sequence(std::vector<TokenDecoderPtr> parts) : parts_(std::move(parts)) {}
  absl::StatusOr<Texts> Decode(Texts tokens) const override {
    const size_t bytes = TotalBytes(tokens);
    for (const TokenDecoderPtr& part : parts_) {
      REGROUP_ASSIGN_OR_RETURN(tokens, part->Decode(std::move(tokens)));
      REGROUP_RETURN_IF_ERROR(CheckTextGrowth(bytes, TotalBytes(tokens)));
    }
    return tokens;
  }

 private:
  std::vector<TokenDecoderPtr> parts_;
};

std::string Joined(const Texts& texts, std::string_view separator) {
  std::string whole;
  for (size_t i = 0; i < texts.size(); ++i) {
    if (i > 0) whole += separator;
    whole += texts[i];
  }
  return whole;
}

class Join : public TokenDecoder {
 public:
  explicit Join(std::string separator) : separator_(std::move(separator)) {}
  absl::StatusOr<Texts> Decode(Texts tokens) const override { return Texts{Joined(tokens, separator_)}; }

 private:
  std::string separator_;
};

class ByteLevel : public TokenDecoder {
 public:
  absl::StatusOr<Texts> Decode(Texts tokens) const override {
    std::string bytes;
    for (const std::string& token : tokens) bytes += FromByteLevel(token).value_or(token);
    return Texts{WithReplacementCharacters(bytes)};
  }
};

/// Returns the byte of "<0x1F>", or nullopt for any other token.
std::optional<char> ByteOfToken(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) return std::nullopt;
  unsigned value = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, value, 16);
  if (error != std::errc() || end != token.data() + 5) return std::nullopt;
  return static_cast<char>(value);
}

/// Joins runs of byte tokens; a run that is not UTF-8 becomes one replacement character for each byte.
class ByteFallback : public TokenDecoder {
 public:
  absl::StatusOr<Texts> Decode(Texts tokens) const override {
    Texts result;
    std::string run;
    for (std::string& token : tokens) {
      if (const std::optional<char> byte = ByteOfToken(token)) {
        run += *byte;
        continue;
      }
      Flush(run, result);
      result.push_back(std::move(token));
    }
    Flush(run, result);
    return result;
  }

 private:
  static void Flush(std::string& run, Texts& result) {
    if (run.empty()) return;
    if (IsValidUtf8(run)) {
      result.push_back(run);
    } else {
      result.insert(result.end(), run.size(), "\xef\xbf\xbd");
    }
    run.clear();
  }
};

class Replace : public TokenDecoder {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  absl::StatusOr<Texts> Decode(Texts tokens) const override {
    for (std::string& token : tokens) {
      REGROUP_ASSIGN_OR_RETURN(const std::vector<ByteRange> matches, pattern_.FindAll(token));
      REGROUP_RETURN_IF_ERROR(CheckTextGrowth(token.size(), matches.size() * content_.size()));
      for (auto match = matches.rbegin(); match != matches.rend(); ++match) {
        token.replace(match->begin, match->end - match->begin, content_);
      }
    }
    return tokens;
  }

 private:
  Regex pattern_;
  std::string content_;
};

/// Removes up to `start` copies of a character before each token, and up to `stop` after it.
class Strip : public TokenDecoder {
 public:
  Strip(std::string content, int start, int stop) : content_(std::move(content)), start_(start), stop_(stop) {}
  absl::StatusOr<Texts> Decode(Texts tokens) const override {
    for (std::string& token : tokens) {
      for (int i = 0; i < start_ && token.starts_with(content_); ++i) token.erase(0, content_.size());
      for (int i = 0; i < stop_ && token.ends_with(content_); ++i) token.resize(token.size() - content_.size());
    }
    return tokens;
  }

 private:
  std::string content_;
  int start_, stop_;
};

class Metaspace : public TokenDecoder {
 public:
  Metaspace(std::string replacement, bool strips_first) : replacement_(std::move(replacement)), strips_(strips_first) {}
  absl::StatusOr<Texts> Decode(Texts tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = WithSpaces(tokens[i], i == 0 && strips_);
    return tokens;
  }

 private:
  std::string WithSpaces(std::string_view token, bool drops_leading) const {
    std::string text;
    for (size_t at = 0; at < token.size();) {
      const bool is_space = token.substr(at).starts_with(replacement_);
      if (!is_space) text += token[at];
      if (is_space && !(drops_leading && at == 0)) text += ' ';
      at += is_space ? replacement_.size() : 1;
    }
    return text;
  }

  std::string replacement_;
  bool strips_;
};

absl::StatusOr<TokenDecoderPtr> ParseSequence(const nlohmann::json& parts) {
  std::vector<TokenDecoderPtr> parsed;
  for (const nlohmann::json& part : parts) {
    REGROUP_ASSIGN_OR_RETURN(parsed.emplace_back(), ParseTokenDecoder(part));
  }
  return std::make_shared<Sequence>(std::move(parsed));
}

absl::StatusOr<TokenDecoderPtr> ParseReplace(const nlohmann::json& json) {
  REGROUP_ASSIGN_OR_RETURN(Regex pattern, ParsePattern(json.at("pattern")));
  return std::make_shared<Replace>(std::move(pattern), json.at("content").get<std::string>());
}

absl::StatusOr<TokenDecoderPtr> ParseStrip(const nlohmann::json& json) {
  const std::string content = json.at("content");
  const std::optional<int> start = IntegerIn<int>(json.at("start")), stop = IntegerIn<int>(json.at("stop"));
  if (content.empty() || !start || !stop) {
    return absl::InvalidArgumentError("decoder Strip: \"content\" is empty, or \"start\" and \"stop\" are not numbers");
  }
  return std::make_shared<Strip>(content, *start, *stop);
}

absl::StatusOr<TokenDecoderPtr> ParseMetaspace(const nlohmann::json& json) {
  const std::string replacement = json.at("replacement");
  if (replacement.empty()) return absl::InvalidArgumentError("decoder Metaspace: \"replacement\" is empty");
  const std::string scheme = json.value("prepend_scheme", std::string("always"));
  return std::make_shared<Metaspace>(replacement, json.value("add_prefix_space", scheme != "never"));
}

}  // namespace

absl::StatusOr<TokenDecoderPtr> ParseTokenDecoder(const nlohmann::json& json) {
  if (json.is_null()) return std::make_shared<Join>(" ");
  const std::string type = json.at("type");
  if (type == "ByteLevel") return std::make_shared<ByteLevel>();
  if (type == "ByteFallback") return std::make_shared<ByteFallback>();
  if (type == "Fuse") return std::make_shared<Join>("");
  if (type == "Sequence") return ParseSequence(json.at("decoders"));
  if (type == "Replace") return ParseReplace(json);
  if (type == "Metaspace") return ParseMetaspace(json);
  if (type == "Strip") {
    return ParseStrip(json);
  }
  return absl::UnimplementedError(fmt::format("decoder \"{}\" is not supported", type));
}

}  // namespace regroup
