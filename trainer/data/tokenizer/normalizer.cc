#include "trainer/data/tokenizer/normalizer.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>

#include <algorithm>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
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
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    const size_t bytes = text.size();
    for (const NormalizerPtr& part : parts_) {
      REGROUP_ASSIGN_OR_RETURN(text, part->Normalize(std::move(text)));
      REGROUP_RETURN_IF_ERROR(CheckTextGrowth(bytes, text.size()));
    }
    return text;
  }

 private:
  std::vector<NormalizerPtr> parts_;
};

/// Implements Unicode's four normal forms with ICU. ASCII text is already in all of them.
class UnicodeForm : public Normalizer {
 public:
  explicit UnicodeForm(const icu::Normalizer2* form) : form_(form) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    if (IsAscii(text)) return text;
    std::string result;
    icu::StringByteSink<std::string> sink(&result);
    UErrorCode error = U_ZERO_ERROR;
    form_->normalizeUTF8(0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, error);
    if (U_FAILURE(error)) return absl::InternalError(fmt::format("Unicode normalisation: {}", u_errorName(error)));
    return result;
  }

 private:
  const icu::Normalizer2* form_;
};

class Prepend : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    if (text.empty()) return text;
    REGROUP_RETURN_IF_ERROR(CheckTextGrowth(text.size(), text.size() + prefix_.size()));
    return text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace : public Normalizer {
 public:
  Replace(Regex pattern, std::string content) : pattern_(std::move(pattern)), content_(std::move(content)) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    REGROUP_ASSIGN_OR_RETURN(const std::vector<ByteRange> matches, pattern_.FindAll(text));
    if (matches.empty()) return text;
    REGROUP_RETURN_IF_ERROR(CheckTextGrowth(text.size(), matches.size() * content_.size()));
    std::string result;
    size_t end = 0;
    for (const ByteRange& match : matches) {
      result.append(text, end, match.begin - end).append(content_);
      end = match.end;
    }
    return result.append(text, end);
  }

 private:
  Regex pattern_;
  std::string content_;
};

class Strip : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}
  absl::StatusOr<std::string> Normalize(std::string text) const override {
    size_t begin = text.size(), end = 0;
    for (size_t at = 0; at < text.size();) {
      const size_t start = at;
      if (IsWhitespace(NextCharacter(text, at))) continue;
      begin = std::min(begin, start);
      end = at;
    }
    if (begin == text.size() && (left_ || right_)) return std::string();
    return text.substr(left_ ? begin : 0, (right_ ? end : text.size()) - (left_ ? begin : 0));
  }

 private:
  bool left_, right_;
};

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
  if (type == "Strip") return std::make_shared<Strip>(json.at("strip_left"), json.at("strip_right"));
  if (type == "Replace") {
    REGROUP_ASSIGN_OR_RETURN(Regex pattern, ParsePattern(json.at("pattern")));
    return std::make_shared<Replace>(std::move(pattern), json.at("content").get<std::string>());
  }
  return absl::UnimplementedError(fmt::format("normalizer \"{}\" is not supported", type));
}

}  // namespace regroup
