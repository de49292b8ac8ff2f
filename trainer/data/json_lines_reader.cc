#include "trainer/data/json_lines_reader.h"

#include <fmt/format.h>

#include "services/common/base/bounded_json.h"
#include "services/common/base/status_macros.h"
#include "trainer/data/data_kind.h"

namespace regroup {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 18;

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
  REGROUP_ASSIGN_OR_RETURN(DataStream stream, DataStream::Open(path));
  return JsonLinesReader(std::move(stream));
}

absl::Status JsonLinesReader::ReadPiece() {
  const bool is_first = buffer_.empty();
  buffer_.resize(kPieceBytes);
  used_ = 0;
  REGROUP_ASSIGN_OR_RETURN(filled_, stream_.Read(buffer_.data(), buffer_.size()));
  return is_first ? CheckStartsAsLines(stream_.path(), {buffer_.data(), filled_}) : absl::OkStatus();
}

absl::StatusOr<bool> JsonLinesReader::ReadLine() {
  line_.clear();
  ++line_number_;
  while (true) {
    if (used_ == filled_) {
      REGROUP_RETURN_IF_ERROR(ReadPiece());
      if (filled_ == 0) return !line_.empty();
    }
    const std::string_view rest(buffer_.data() + used_, filled_ - used_);
    const size_t end = rest.find('\n');
    const std::string_view part = rest.substr(0, end);
    if (line_.size() + part.size() > kMaxLineBytes) {
      return ErrorHere(fmt::format("the line has more than {} bytes; cut the text into several lines", kMaxLineBytes));
    }
    line_ += part;
    used_ += part.size() + (end == std::string_view::npos ? 0 : 1);
    if (end != std::string_view::npos) return true;
  }
}

absl::StatusOr<std::optional<nlohmann::json>> JsonLinesReader::Next() {
  while (true) {
    REGROUP_ASSIGN_OR_RETURN(const bool found, ReadLine());
    if (!found) return std::nullopt;
    if (IsBlank(line_)) continue;
    if (JsonDepth(line_) > kMaxJsonDepth) return ErrorHere("the line nests lists or objects too deeply");
    nlohmann::json object = nlohmann::json::parse(line_, nullptr, /*allow_exceptions=*/false);
    if (object.is_discarded()) return ErrorHere(WhyNotJson(line_));
    if (!object.is_object()) return ErrorHere("the line must be a JSON object");
    return object;
  }
}

absl::Status JsonLinesReader::ErrorHere(std::string_view what) const {
  return absl::InvalidArgumentError(fmt::format("{}:{}: {}", stream_.path().string(), line_number_, what));
}

absl::StatusOr<std::string> JsonLinesReader::TextField(const nlohmann::json& object, const std::string& field) const {
  const auto found = object.find(field);
  if (found == object.end()) {
    return ErrorHere(fmt::format("the field \"{}\" is missing; found {}", field, FieldNames(object)));
  }
  if (!found->is_string()) return ErrorHere(fmt::format("the field \"{}\" must be a string", field));
  return found->get<std::string>();
}

}  // namespace regroup
