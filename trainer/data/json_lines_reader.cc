#include "trainer/data/json_lines_reader.h"

#include <fmt/format.h>

#include <cerrno>
#include <vector>

#include "services/common/base/bounded_json.h"
#include "services/common/base/files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

std::string FieldNames(const nlohmann::json& object) {
  std::string names;
  for (const auto& [key, value] : object.items()) {
    if (names.size() > 200) return names + ", ...";
    names += (names.empty() ? "\"" : ", \"") + key + "\"";
  }
  return names.empty() ? "none" : names;
}

bool IsBlank(const std::string& line) { return line.find_first_not_of(" \t\r") == std::string::npos; }

}  // namespace

absl::StatusOr<JsonLinesReader> JsonLinesReader::Open(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(fmt::format("{} is a folder; name a JSON Lines file", path.string()));
  }
  JsonLinesReader reader;
  reader.path_ = path;
  errno = 0;
  reader.stream_.open(path, std::ios::binary);
  if (!reader.stream_) return ErrnoStatus(errno != 0 ? errno : EIO, "open", path);
  const uintmax_t bytes = std::filesystem::file_size(path, error);
  reader.file_bytes_ = error ? 0 : bytes;
  return reader;
}

absl::StatusOr<std::optional<nlohmann::json>> JsonLinesReader::Next() {
  while (std::getline(stream_, line_)) {
    ++line_number_;
    bytes_read_ += line_.size() + 1;
    digest_.Update(line_);
    if (!stream_.eof()) digest_.Update("\n");  // Only the last line may lack its end.
    if (IsBlank(line_)) continue;
    if (JsonDepth(line_) > kMaxJsonDepth) return ErrorHere("the line nests lists or objects too deeply");
    nlohmann::json object = nlohmann::json::parse(line_, nullptr, /*allow_exceptions=*/false);
    if (object.is_discarded()) return ErrorHere("the line is not valid JSON in UTF-8");
    if (!object.is_object()) return ErrorHere("the line must be a JSON object");
    return object;
  }
  if (stream_.bad()) return ErrnoStatus(EIO, "read", path_);
  return std::nullopt;
}

absl::StatusOr<std::string> JsonLinesReader::Digest() {
  std::vector<char> buffer(1 << 20);
  while (stream_.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || stream_.gcount() > 0) {
    digest_.Update({buffer.data(), static_cast<size_t>(stream_.gcount())});
  }
  if (stream_.bad()) return ErrnoStatus(EIO, "read", path_);
  return digest_.Finish();
}

absl::Status JsonLinesReader::ErrorHere(std::string_view what) const {
  return absl::InvalidArgumentError(fmt::format("{}:{}: {}", path_.string(), line_number_, what));
}

absl::StatusOr<std::string> JsonLinesReader::TextField(const nlohmann::json& object, const char* field) const {
  const auto found = object.find(field);
  if (found == object.end()) {
    return ErrorHere(fmt::format("the field \"{}\" is missing; found {}", field, FieldNames(object)));
  }
  if (!found->is_string()) return ErrorHere(fmt::format("the field \"{}\" must be a string", field));
  return found->get<std::string>();
}

}  // namespace regroup
