#include "trainer/model_folder/companion_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "services/common/base/bounded_json.h"
#include "services/common/base/files.h"
#include "services/common/base/input_file.h"
#include "services/common/base/paths.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using Names = std::set<std::string>;

constexpr const char* kCompanions[] = {
    "README.md",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "merges.txt",
    "normalizer.json",
    "preprocessor_config.json",
    "processor_config.json",
    "qwen.tiktoken",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tekken.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
    "vocab.txt",
};
/// Names that say who may use a model begin with one of these; something like ".txt" or "-BASE.md" may follow.
constexpr std::array<std::string_view, 6> kLicences = {"LICENSE", "LICENCE",   "NOTICE",
                                                       "COPYING", "COPYRIGHT", "USE_POLICY"};
constexpr std::string_view kTokenizerVersion = "tokenizer.model.";
constexpr char kTokenizerConfig[] = "tokenizer_config.json";
constexpr char kTemplates[] = "additional_chat_templates";
constexpr uint64_t kMaxCompanionBytes = uint64_t{64} << 20;
constexpr uint64_t kMaxModuleBytes = uint64_t{4} << 20;
constexpr size_t kMaxCompanions = 256;
constexpr size_t kMaxNameBytes = 128;

/// Returns true for a name of letters, digits and the given signs, which is not hidden.
bool IsPlain(std::string_view name, std::string_view signs) {
  return !name.empty() && name.size() <= kMaxNameBytes && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), [&](char letter) {
           return absl::ascii_isalnum(static_cast<unsigned char>(letter)) || signs.find(letter) != signs.npos;
         });
}
bool IsPlainName(std::string_view name) { return IsPlain(name, "._-"); }
bool IsModuleName(std::string_view name) { return IsPlain(name, "_-"); }

bool IsLicence(std::string_view name) {
  std::string upper(name);
  absl::AsciiStrToUpper(&upper);
  return std::any_of(kLicences.begin(), kLicences.end(), [&](std::string_view licence) {
    return upper.starts_with(licence) &&
           (upper.size() == licence.size() || std::string_view(".-_").find(upper[licence.size()]) != std::string::npos);
  });
}

/// Calls `visit` with the names of a folder's files; a folder that does not exist has none.
absl::Status ForEachFile(const std::filesystem::path& folder, const std::function<void(const std::string&)>& visit) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) return absl::OkStatus();
  REGROUP_ASSIGN_OR_RETURN(const std::vector<std::filesystem::path> entries, EntriesOf(folder));
  for (const std::filesystem::path& entry : entries) {
    const std::string name = entry.filename().string();
    if (IsPlainName(name) && !std::filesystem::is_directory(entry, error)) visit(name);
  }
  return absl::OkStatus();
}

/// Adds the module of "module.Class"; "repository--module.Class" is code that lies elsewhere.
void AddModule(const nlohmann::json& reference, std::vector<std::string>& modules) {
  if (!reference.is_string()) return;
  const auto& text = reference.get_ref<const std::string&>();
  if (text.find("--") == text.npos) modules.push_back(text.substr(0, text.find('.')));
}

/// Returns the modules that an auto_map names, each by a text or a list of texts.
std::vector<std::string> NamedModules(const nlohmann::json& config) {
  std::vector<std::string> modules;
  const auto map = config.find("auto_map");
  if (map == config.end() || !map->is_object()) return modules;
  for (const nlohmann::json& value : *map) {
    AddModule(value, modules);
    if (!value.is_array()) continue;
    for (const nlohmann::json& one : value) AddModule(one, modules);
  }
  return modules;
}

/// Returns the modules of the same folder that a module imports, as Transformers finds them: "import .x" or "from .x
/// import y" on a line.
std::vector<std::string> ImportedModules(const std::string& code) {
  std::vector<std::string> modules;
  std::istringstream lines(code);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string keyword, module, next;
    words >> keyword >> module >> next;
    const bool imports = keyword == "import" && next.empty();
    const bool imports_from = keyword == "from" && next.starts_with("import");
    if ((imports || imports_from) && module.starts_with('.')) modules.push_back(module.substr(1));
  }
  return modules;
}

absl::Status AddModules(const nlohmann::json& config, const std::filesystem::path& folder, Names& names) {
  std::vector<std::string> waiting = NamedModules(config);
  if (auto file = InputFile::OpenWithin(folder, kTokenizerConfig); file.ok()) {
    REGROUP_ASSIGN_OR_RETURN(const std::string text, file->ReadAll(kMaxCompanionBytes));
    const auto tokenizer = ParseJsonObject(text);
    if (tokenizer.ok()) std::ranges::move(NamedModules(*tokenizer), std::back_inserter(waiting));
  }
  while (!waiting.empty()) {
    const std::string module = std::move(waiting.back());
    waiting.pop_back();
    const std::string name = module + ".py";
    if (!IsModuleName(module) || names.contains(name)) continue;
    absl::StatusOr<InputFile> file = InputFile::OpenWithin(folder, name);
    if (absl::IsNotFound(file.status())) continue;
    REGROUP_RETURN_IF_ERROR(file.status());
    REGROUP_ASSIGN_OR_RETURN(const std::string code, file->ReadAll(kMaxModuleBytes));
    names.insert(name);
    if (names.size() > kMaxCompanions) break;
    std::ranges::move(ImportedModules(code), std::back_inserter(waiting));
  }
  return absl::OkStatus();
}

absl::StatusOr<Names> CompanionsOf(const nlohmann::json& config, const std::filesystem::path& folder) {
  Names names(std::begin(kCompanions), std::end(kCompanions));
  REGROUP_RETURN_IF_ERROR(ForEachFile(folder, [&](const std::string& name) {
    if (IsLicence(name) || name.starts_with(kTokenizerVersion)) names.insert(name);
  }));
  REGROUP_RETURN_IF_ERROR(ForEachFile(folder / kTemplates, [&](const std::string& name) {
    if (name.ends_with(".jinja")) names.insert(fmt::format("{}/{}", kTemplates, name));
  }));
  REGROUP_RETURN_IF_ERROR(AddModules(config, folder, names));
  if (names.size() <= kMaxCompanions) return names;
  return absl::InvalidArgumentError(fmt::format(
      "{} has more than {} licences, chat templates and modules of Python; remove those that are not needed",
      folder.string(), kMaxCompanions));
}

/// Calls `visit` with each companion that the folder has, opened.
absl::Status ForEachCompanion(const nlohmann::json& config, const std::filesystem::path& folder,
                              const std::function<absl::Status(const std::string& name, InputFile& file)>& visit) {
  REGROUP_ASSIGN_OR_RETURN(const Names names, CompanionsOf(config, folder));
  for (const std::string& name : names) {
    absl::StatusOr<InputFile> file = InputFile::OpenWithin(folder, name);
    if (absl::IsNotFound(file.status())) continue;
    REGROUP_RETURN_IF_ERROR(file.status());
    if (file->bytes() > kMaxCompanionBytes) return TooLarge(file->path(), file->bytes(), kMaxCompanionBytes);
    REGROUP_RETURN_IF_ERROR(visit(name, *file));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CopyCompanionFiles(const nlohmann::json& config, const std::filesystem::path& from,
                                const std::filesystem::path& to) {
  return ForEachCompanion(config, from, [&](const std::string& name, InputFile& file) -> absl::Status {
    REGROUP_ASSIGN_OR_RETURN(const std::string content, file.ReadAll(kMaxCompanionBytes));
    const std::filesystem::path copy = to / name;
    REGROUP_RETURN_IF_ERROR(MakeFolders(copy.parent_path()));
    return WriteFileAtomically(copy, content);
  });
}

absl::Status CheckCompanionFiles(const nlohmann::json& config, const std::filesystem::path& folder) {
  return ForEachCompanion(config, folder, [](const std::string&, InputFile&) { return absl::OkStatus(); });
}

}  // namespace regroup
