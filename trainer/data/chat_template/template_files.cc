#include "trainer/data/chat_template/template_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/chat_template/chat_template.h"
#include "trainer/data/tokenizer/tokenizer_file.h"
#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

constexpr char kConfig[] = "tokenizer_config.json";
constexpr char kFile[] = "chat_template.jinja";
constexpr char kFolder[] = "additional_chat_templates";
constexpr char kKey[] = "chat_template";
constexpr std::array kNamedTokens = {"bos_token", "eos_token", "unk_token", "sep_token",
                                     "pad_token", "cls_token", "mask_token"};
/// Classes that give no token of their own to a template.
constexpr std::array<std::string_view, 3> kPlainClasses = {"PreTrainedTokenizerFast", "PreTrainedTokenizer",
                                                           "TokenizersBackend"};

class Finder {
 public:
  Finder(fs::path folder, fs::path original) : folder_(std::move(folder)), original_(std::move(original)) {}

  absl::StatusOr<TemplateFiles> Find() {
    REGROUP_ASSIGN_OR_RETURN(config_, ReadJsonObjectIfPresent(folder_ / kConfig));
    REGROUP_ASSIGN_OR_RETURN(const bool has_files, ReadFiles());
    if (!has_files) REGROUP_RETURN_IF_ERROR(ReadConfigTemplates());
    if (!found_.plain && !found_.with_tools) return Missing();
    if (!config_.contains("added_tokens_decoder")) {
      REGROUP_ASSIGN_OR_RETURN(const nlohmann::json older,
                               ReadJsonObjectIfPresent(folder_ / "special_tokens_map.json"));
      config_.update(older);
    }
    REGROUP_ASSIGN_OR_RETURN(const bool is_plain, HasPlainClass());
    ReadTokens(is_plain);
    return std::move(found_);
  }

 private:
  std::string PathOf(const fs::path& file) const { return (original_ / file).string(); }

  absl::Status Missing() const {
    std::error_code error;
    const bool has_old = fs::exists(folder_ / "chat_template.json", error);
    return absl::NotFoundError(
        fmt::format("{} has no chat template: neither chat_template.jinja nor \"chat_template\" in {}{}; save the "
                    "tokenizer with one, "
                    "or write each conversation as a text",
                    original_.string(), kConfig, has_old ? " (a tokenizer does not read chat_template.json)" : ""));
  }

  void Keep(const std::string& name, std::string file, std::string text) {
    TemplateText found{.file = std::move(file), .text = std::move(text)};
    if (name == "default")
      found_.plain = std::move(found);
    else if (name == "tool_use")
      found_.with_tools = std::move(found);
  }

  absl::Status ReadFile(const std::string& name, const fs::path& file) {
    const absl::StatusOr<std::string> text = ReadInput(folder_ / file, kMaxTemplateBytes);
    REGROUP_RETURN_IF_ERROR(text.status());
    Keep(name, PathOf(file), *text);
    return absl::OkStatus();
  }

  /// Reads the templates that are files of their own, which count instead of those in tokenizer_config.json.
  absl::StatusOr<bool> ReadFiles() {
    bool has_files = false;
    REGROUP_ASSIGN_OR_RETURN(const std::vector<std::string> names, TemplateFileNames(folder_));
    for (const std::string& name : names) {
      std::error_code error;
      if (!fs::exists(folder_ / name, error)) continue;
      has_files = true;
      const std::string stem = fs::path(name).stem().string();
      // Transformers would take this one for chat_template.jinja.
      if (stem == "file") return absl::UnimplementedError(fmt::format("{}: rename this template", PathOf(name)));
      REGROUP_RETURN_IF_ERROR(ReadFile(name == kFile ? "default" : stem, name));
    }
    if (has_files && !found_.plain) return NoDefault(PathOf(kFolder));
    return has_files;
  }

  static absl::Status NoDefault(const std::string& where) {
    return absl::InvalidArgumentError(fmt::format("{} has no template named \"default\"", where));
  }

  absl::Status ReadConfigTemplates() {
    const auto found = config_.find(kKey);
    if (found == config_.end() || found->is_null()) return absl::OkStatus();
    const std::string where = fmt::format("{}: \"{}\"", PathOf(kConfig), kKey);
    if (found->is_string()) {
      Keep("default", where, found->get<std::string>());
      return absl::OkStatus();
    }
    const absl::Status malformed = absl::InvalidArgumentError(
        fmt::format("{} must be a text, or a list of objects with \"name\" and \"template\"", where));
    if (!found->is_array()) return malformed;
    for (const nlohmann::json& one : *found) {
      const bool is_complete = one.is_object() && one.contains("name") && one["name"].is_string() &&
                               one.contains("template") && one["template"].is_string();
      if (!is_complete) return malformed;
      const std::string name = one["name"];
      Keep(name, fmt::format("{} named \"{}\"", where, name), one["template"]);
    }
    return found_.plain ? absl::OkStatus() : NoDefault(where);
  }

  void AddToken(const std::string& name, const nlohmann::json& value) {
    if (value.is_string()) found_.tokens[name] = value;
    if (value.is_object() && value.contains("content") && value["content"].is_string()) {
      found_.tokens[name] = value["content"];
    }
  }

  /// Tells whether the tokenizer's class has no tokens of its own.
  absl::StatusOr<bool> HasPlainClass() const {
    REGROUP_ASSIGN_OR_RETURN(const nlohmann::json model, ReadJsonObjectIfPresent(folder_ / "config.json"));
    // For these models Transformers ignores the class that is named here, and takes one with tokens.
    if (model.value("model_type", nlohmann::json()) == "qwen2") return false;
    const nlohmann::json name = config_.value("tokenizer_class", nlohmann::json());
    return name.is_string() && std::find(kPlainClasses.begin(), kPlainClasses.end(),
                                         name.get_ref<const std::string&>()) != kPlainClasses.end();
  }

  void ReadTokens(bool is_plain) {
    for (const auto& [key, value] : config_.items()) {
      if (key.ends_with("_token")) AddToken(key, value);
    }
    const nlohmann::json extra = config_.value("extra_special_tokens", nlohmann::json());
    if (extra.is_object()) {
      for (const auto& [key, value] : extra.items()) AddToken(key, value);
    }
    if (is_plain) return;
    for (const char* token : kNamedTokens) {
      if (config_.contains(token)) continue;
      found_.unknown[token] = fmt::format(
          "{}, which {} does not have; Transformers takes that of the tokenizer's class: write it there, or null",
          token, PathOf(kConfig));
    }
  }

  const fs::path folder_, original_;
  nlohmann::json config_;
  TemplateFiles found_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> TemplateFileNames(const fs::path& folder) {
  std::vector<std::string> names = {kFile};
  std::error_code error;
  if (!fs::is_directory(folder / kFolder, error)) return names;
  REGROUP_ASSIGN_OR_RETURN(const std::vector<fs::path> entries, EntriesOf(folder / kFolder));
  for (const fs::path& entry : entries) {
    const std::string name = entry.filename().string();
    if (entry.extension() == ".jinja") names.push_back(fmt::format("{}/{}", kFolder, name));
  }
  std::sort(names.begin() + 1, names.end());
  return names;
}

absl::StatusOr<TemplateFiles> FindTemplates(const fs::path& folder, const fs::path& original) {
  return Finder(folder, original.empty() ? folder : original).Find();
}

}  // namespace regroup
