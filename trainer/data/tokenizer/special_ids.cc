#include "trainer/data/tokenizer/special_ids.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/status_macros.h"
#include "trainer/data/tokenizer/tokenizer_file.h"

namespace regroup {
namespace {

/// Returns the text of a token, which is written as a string or as an object with "content". Returns nullopt for
/// anything else, including null.
std::optional<std::string> TokenText(const nlohmann::json& token) {
  if (token.is_string()) return token.get<std::string>();
  if (token.is_object() && token.contains("content") && token["content"].is_string()) return token["content"];
  return std::nullopt;
}

/// Returns a number, or the first of a list of numbers.
std::optional<int32_t> TokenNumber(const nlohmann::json& config, const std::string& key) {
  const nlohmann::json value = config.value(key, nlohmann::json());
  const nlohmann::json& first = value.is_array() && !value.empty() ? value[0] : value;
  if (!first.is_number_integer() || first < 0 || first > 1 << 30) return std::nullopt;
  return first.get<int32_t>();
}

class SpecialIdReader {
 public:
  SpecialIdReader(const std::filesystem::path& folder,
                  const std::function<std::optional<int32_t>(std::string_view)>& id_of)
      : folder_(folder), id_of_(id_of) {}

  absl::StatusOr<std::optional<int32_t>> Read(const std::string& key) const {
    std::pair<const char*, nlohmann::json> files[] = {{"tokenizer_config.json", {}}, {"special_tokens_map.json", {}}};
    for (auto& [file, json] : files) {
      REGROUP_ASSIGN_OR_RETURN(json, ReadJsonObjectIfPresent(folder_ / file));
    }
    // As in Transformers, the older file counts unless tokenizer_config.json has a table of its own.
    if (!files[0].second.contains("added_tokens_decoder")) std::swap(files[0], files[1]);
    for (const auto& [file, json] : files) {
      if (json.contains(key)) return IdOf(file, key, json[key]);
    }
    REGROUP_ASSIGN_OR_RETURN(const nlohmann::json config, ReadJsonObjectIfPresent(folder_ / "config.json"));
    // A checkpoint with other parts has the language model's configuration in an object of its own.
    const std::string number = key + "_id";
    const auto text = config.find("text_config");
    const bool is_inside = !config.contains(number) && text != config.end() && text->is_object();
    return TokenNumber(is_inside ? *text : config, number);
  }

 private:
  absl::StatusOr<std::optional<int32_t>> IdOf(const char* file, const std::string& key,
                                              const nlohmann::json& token) const {
    const std::optional<std::string> text = TokenText(token);
    if (!text) return std::nullopt;
    const std::optional<int32_t> id = id_of_(*text);
    if (id || key != "eos_token") return id;
    return absl::InvalidArgumentError(
        fmt::format("{}: {} \"{}\" is not in the vocabulary", (folder_ / file).string(), key, *text));
  }

  const std::filesystem::path& folder_;
  const std::function<std::optional<int32_t>(std::string_view)>& id_of_;
};

}  // namespace

absl::StatusOr<SpecialIds> ReadSpecialIds(const std::filesystem::path& folder,
                                          const std::function<std::optional<int32_t>(std::string_view)>& id_of) {
  const SpecialIdReader reader(folder, id_of);
  SpecialIds ids;
  REGROUP_ASSIGN_OR_RETURN(ids.bos, reader.Read("bos_token"));
  REGROUP_ASSIGN_OR_RETURN(ids.eos, reader.Read("eos_token"));
  return ids;
}

}  // namespace regroup
