#include "trainer/data/tokenizer/configured_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/tokenizer_file.h"

namespace regroup {
namespace {

// The order of the keys decides the ids of new tokens.
using Json = nlohmann::ordered_json;

constexpr const char* kNamedTokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                        "pad_token", "cls_token", "mask_token"};
constexpr const char* kExtra = "extra_special_tokens";
constexpr const char* kOldExtra = "additional_special_tokens";
constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr const char* kSpecialsFile = "special_tokens_map.json";
constexpr const char* kAddedFile = "added_tokens.json";

template <typename Tree>
bool ReadFlag(const Tree& json, const char* key, bool otherwise) {
  const auto found = json.find(key);
  return found != json.end() && found->is_boolean() ? found->template get<bool>() : otherwise;
}

template <typename Tree>
absl::StatusOr<AddedToken> ParseToken(const Tree& json) {
  if (!json.is_object() || !json.contains("content") || !json["content"].is_string()) {
    return absl::InvalidArgumentError("an added token must be an object with \"content\"");
  }
  AddedToken token;
  token.content = json["content"].template get<std::string>();
  token.single_word = ReadFlag(json, "single_word", false);
  token.left_strip = ReadFlag(json, "lstrip", false);
  token.right_strip = ReadFlag(json, "rstrip", false);
  token.special = ReadFlag(json, "special", false);
  token.normalized = ReadFlag(json, "normalized", !token.special);
  return token;
}

/// Returns true for the key of a token that only some models have, such as "image_token".
bool IsOtherToken(const std::string& key) {
  return key.ends_with("_token") &&
         std::find(std::begin(kNamedTokens), std::end(kNamedTokens), key) == std::end(kNamedTokens);
}

/// Returns a token that is written as its text, or as an object; nothing for anything else.
std::optional<AddedToken> SpecialToken(const Json& json) {
  AddedToken token;
  if (json.is_string()) {
    token.content = json;
  } else if (absl::StatusOr<AddedToken> parsed = ParseToken(json); parsed.ok()) {
    token = *std::move(parsed);
    token.normalized = ReadFlag(json, "normalized", false);
  } else {
    return std::nullopt;
  }
  token.special = true;
  return token;
}

/// Reads the files one after the other, and collects what they set.
class Reader {
 public:
  explicit Reader(std::filesystem::path folder) : folder_(std::move(folder)) {}

  absl::StatusOr<ConfiguredTokens> Read(const nlohmann::json& listed) {
    REGROUP_ASSIGN_OR_RETURN(settings_, ReadOrderedJsonObjectIfPresent(folder_ / kConfigFile));
    if (ReadFlag(settings_, "split_special_tokens", false)) {
      return absl::UnimplementedError(
          fmt::format("{}: \"split_special_tokens\": true is not supported; remove the key", PathOf(kConfigFile)));
    }
    SortSettings();
    // Transformers reads the older files only if tokenizer_config.json has no table of its own.
    const bool has_table = settings_.contains("added_tokens_decoder");
    if (has_table) {
      REGROUP_RETURN_IF_ERROR(ReadTable(settings_["added_tokens_decoder"]));
    } else {
      REGROUP_RETURN_IF_ERROR(ReadOlderFiles(listed));
    }
    ConfiguredTokens tokens{.table_file = folder_ / (has_table ? kConfigFile : kAddedFile), .specials = Specials()};
    for (auto& [id, token] : table_) tokens.table.push_back(std::move(token));
    return tokens;
  }

 private:
  std::string PathOf(const char* file) const { return (folder_ / file).string(); }

  /// Moves the tokens that the model's class does not know by name behind the others, and replaces the old name of the
  /// list by the new one.
  void SortSettings() {
    if (settings_.contains(kOldExtra)) {
      if (!settings_.contains(kExtra)) settings_[kExtra] = settings_[kOldExtra];
      settings_.erase(kOldExtra);
    }
    Json kept = Json::object();
    for (const auto& [key, value] : settings_.items()) {
      if (key == kExtra && value.is_object()) continue;
      if (IsOtherToken(key) && value.is_string()) {
        others_.push_back(value);
      } else {
        kept[key] = value;
      }
    }
    const Json extra = settings_.value(kExtra, Json());
    if (extra.is_object()) others_.insert(others_.end(), extra.begin(), extra.end());
    settings_ = std::move(kept);
  }

  absl::Status ReadTable(const Json& table) {
    for (const auto& [key, value] : table.items()) {
      int32_t id = -1;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      absl::StatusOr<AddedToken> token = ParseToken(value);
      if (error != std::errc() || end != key.data() + key.size() || !token.ok()) {
        return absl::InvalidArgumentError(
            fmt::format("{}: \"added_tokens_decoder\": \"{}\" must map an id to an object with \"content\"",
                        PathOf(kConfigFile), key));
      }
      token->id = id;
      table_[id] = *std::move(token);
    }
    return absl::OkStatus();
  }

  absl::Status ReadOlderFiles(const nlohmann::json& listed) {
    REGROUP_ASSIGN_OR_RETURN(const Json specials, ReadOrderedJsonObjectIfPresent(folder_ / kSpecialsFile));
    for (const auto& [key, value] : specials.items()) {
      const bool extends = key == kExtra && value.is_array() && settings_.value(kExtra, Json()).is_array();
      if (extends) {
        settings_[kExtra].insert(settings_[kExtra].end(), value.begin(), value.end());
      } else {
        settings_[key] = value;
      }
    }
    REGROUP_ASSIGN_OR_RETURN(const Json added, ReadOrderedJsonObjectIfPresent(folder_ / kAddedFile));
    std::set<std::string> special;
    for (const AddedToken& token : Specials()) special.insert(token.content);
    for (const auto& [content, value] : added.items()) {
      const std::optional<int32_t> id = IntegerIn<int32_t>(value);
      if (!id) {
        return absl::InvalidArgumentError(fmt::format("{}: \"{}\" must have an id", PathOf(kAddedFile), content));
      }
      AddedToken token;
      token.content = content;
      token.id = *id;
      token.special = special.contains(content);
      token.normalized = !token.special;
      table_[*id] = std::move(token);
    }
    // tokenizer.json decides what its own ids mean.
    for (const nlohmann::json& token : listed) table_.erase(IntegerIn<int32_t>(token.at("id")).value_or(-1));
    return absl::OkStatus();
  }

  std::vector<AddedToken> Specials() const {
    std::vector<AddedToken> specials;
    std::set<std::string> done;
    const auto add = [&](const Json& json) {
      std::optional<AddedToken> token = SpecialToken(json);
      if (token && !token->content.empty() && done.insert(token->content).second) specials.push_back(*std::move(token));
    };
    for (const char* key : kNamedTokens) add(settings_.value(key, Json()));
    for (const auto& [key, value] : settings_.items()) {
      if (IsOtherToken(key)) add(value);
    }
    for (const Json& other : others_) add(other);
    const Json list = settings_.value(settings_.contains(kExtra) ? kExtra : kOldExtra, Json());
    if (list.is_array()) {
      for (const Json& token : list) add(token);
    }
    return specials;
  }

  std::filesystem::path folder_;
  Json settings_;
  std::vector<Json> others_;
  std::map<int32_t, AddedToken> table_;
};

}  // namespace

absl::StatusOr<AddedToken> ParseAddedToken(const nlohmann::json& json) { return ParseToken(json); }

absl::StatusOr<ConfiguredTokens> ReadConfiguredTokens(const std::filesystem::path& folder,
                                                      const nlohmann::json& listed) {
  return Reader(folder).Read(listed);
}

}  // namespace regroup
