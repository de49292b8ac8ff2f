#include "services/common/remote/upload_journal.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/files.h"
#include "services/common/base/random_bytes.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

using nlohmann::json;

constexpr size_t kIdBytes = 16;

json ToJson(const SentFile& sent) {
  json parts = json::object();
  for (const auto& [number, part] : sent.parts) parts[std::to_string(number)] = {part.tag, part.sha256};
  return {{"upload", sent.upload}, {"part_bytes", sent.part_bytes}, {"parts", parts}, {"complete", sent.is_complete}};
}

SentFile FromJson(const json& entry) {
  SentFile sent{
      .upload = entry.at("upload"), .part_bytes = entry.at("part_bytes"), .is_complete = entry.at("complete")};
  for (const auto& [number, tag] : entry.at("parts").items()) sent.parts[std::stoi(number)] = {tag.at(0), tag.at(1)};
  return sent;
}

}  // namespace

absl::StatusOr<UploadJournal> UploadJournal::Open(std::filesystem::path path) {
  UploadJournal journal(std::move(path));
  const absl::StatusOr<std::string> text = ReadFile(journal.path_);
  if (absl::IsNotFound(text.status())) {
    REGROUP_ASSIGN_OR_RETURN(journal.id_, RandomHex(kIdBytes));
    REGROUP_RETURN_IF_ERROR(journal.Write());
    return journal;
  }
  REGROUP_RETURN_IF_ERROR(text.status());
  const absl::StatusOr<json> content = ParseJson(*text);
  try {
    if (content.ok()) {
      content->at("id").get_to(journal.id_);
      content->at("completing").get_to(journal.is_completing_);
      for (const auto& [file, entry] : content->at("files").items()) journal.files_[file] = FromJson(entry);
      return journal;
    }
  } catch (const std::exception&) {
    // Reported below.
  }
  return absl::DataLossError(fmt::format("{} is damaged", journal.path_.string()));
}

SentFile UploadJournal::Find(const std::string& file) const {
  const std::lock_guard lock(mutex_);
  const auto found = files_.find(file);
  return found == files_.end() ? SentFile() : found->second;
}

absl::Status UploadJournal::Put(const std::string& file, const SentFile& sent) {
  const std::lock_guard lock(mutex_);
  files_[file] = sent;
  return Write();
}

absl::Status UploadJournal::AddPart(const std::string& file, int part, const SentPart& sent) {
  const std::lock_guard lock(mutex_);
  files_[file].parts[part] = sent;
  return Write();
}

absl::Status UploadJournal::NoteCompleting() {
  const std::lock_guard lock(mutex_);
  is_completing_ = true;
  return Write();
}

absl::Status UploadJournal::Write() const {
  json files = json::object();
  for (const auto& [file, sent] : files_) files[file] = ToJson(sent);
  return WriteFileAtomically(path_, json{{"id", id_}, {"completing", is_completing_}, {"files", files}}.dump() + "\n");
}

}  // namespace regroup
