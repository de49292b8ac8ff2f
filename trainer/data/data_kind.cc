#include "trainer/data/data_kind.h"

#include <fmt/format.h>

#include <cctype>
#include <optional>

#include <nlohmann/json.hpp>

#include "trainer/data/tokenizer/utf8.h"

namespace regroup {
namespace {

using std::string_view_literals::operator""sv;

/// Says what a file is that starts with these bytes, and how to make JSON Lines of it.
struct Kind {
  std::string_view start;
  std::string_view what;
  std::string_view way_out;
};

constexpr std::string_view kExtract = "extract it and name the JSON Lines file inside";
constexpr std::string_view kFromArrow =
    "write it as JSON Lines, for example with datasets.load_from_disk(FOLDER).to_json(\"data.jsonl\")";
constexpr std::string_view kFromUtf16 = "convert it, for example with: iconv -f UTF-16 -t UTF-8";
constexpr std::string_view kFromUtf32 = "convert it, for example with: iconv -f UTF-32 -t UTF-8";

constexpr Kind kKinds[] = {
    {"PARE"sv, "an encrypted Parquet file", "write it without encryption"},
    {"ARROW1\0"sv, "an Arrow file", kFromArrow},
    {"\xff\xff\xff\xff"sv, "an Arrow stream", kFromArrow},
    {"version https://git-lfs"sv, "a pointer of Git LFS", "download the file itself with: git lfs pull"},
    {"PK\x03\x04"sv, "a zip archive", kExtract},
    {"BZh"sv, "compressed with bzip2", "decompress it with bunzip2, or compress it with gzip or zstd"},
    {"\xfd"
     "7zXZ"sv,
     "compressed with xz", "decompress it with unxz, or compress it with gzip or zstd"},
    {"\x04\x22\x4d\x18"sv, "compressed with lz4", "decompress it with unlz4, or compress it with gzip or zstd"},
    {"SQLite format 3\0"sv, "an SQLite database", "write its texts as JSON Lines"},
    {"<!DOCTYPE"sv, "a web page", "download the file itself"},
    {"<html"sv, "a web page", "download the file itself"},
    {"\xff\xfe\0\0"sv, "text in UTF-32", kFromUtf32},
    {"\0\0\xfe\xff"sv, "text in UTF-32", kFromUtf32},
    {"\xff\xfe"sv, "text in UTF-16", kFromUtf16},
    {"\xfe\xff"sv, "text in UTF-16", kFromUtf16},
};

absl::Status Is(const std::filesystem::path& path, std::string_view what, std::string_view way_out) {
  return absl::InvalidArgumentError(fmt::format("{} is {}, not JSON Lines; {}", path.string(), what, way_out));
}

bool IsPlain(char byte) { return byte >= 0x20 && byte < 0x7f; }

/// Returns true for characters of ASCII in two bytes each, without a byte order mark.
bool LooksLikeUtf16(std::string_view start) {
  if (start.size() < 4) return false;
  const bool little = IsPlain(start[0]) && start[1] == '\0' && IsPlain(start[2]) && start[3] == '\0';
  const bool big = start[0] == '\0' && IsPlain(start[1]) && start[2] == '\0' && IsPlain(start[3]);
  return little || big;
}

bool IsTape(std::string_view start) { return start.size() >= 262 && start.substr(257, 5) == "ustar"; }

/// Returns the value of \uXXXX at `position`, or nothing.
std::optional<uint32_t> EscapeAt(std::string_view line, size_t position) {
  if (position + 6 > line.size() || line.substr(position, 2) != "\\u") return std::nullopt;
  uint32_t value = 0;
  for (const char digit : line.substr(position + 2, 4)) {
    if (std::isxdigit(static_cast<unsigned char>(digit)) == 0) return std::nullopt;
    const int lower = std::tolower(static_cast<unsigned char>(digit));
    value = value * 16 + static_cast<uint32_t>(lower <= '9' ? lower - '0' : lower - 'a' + 10);
  }
  return value;
}

bool IsHigh(uint32_t value) { return value >= 0xd800 && value < 0xdc00; }
bool IsLow(uint32_t value) { return value >= 0xdc00 && value < 0xe000; }

/// Looks through a line for what Python's json module writes though it is not JSON.
class LineScan {
 public:
  explicit LineScan(std::string_view line) : line_(line) {}

  std::optional<std::string> Run() {
    while (position_ < line_.size()) {
      const auto found = in_string_ ? InString() : OutsideString();
      if (found) return found;
    }
    return std::nullopt;
  }

 private:
  std::optional<std::string> OutsideString() {
    for (const std::string_view word : {"NaN"sv, "Infinity"sv}) {
      if (!line_.substr(position_).starts_with(word)) continue;
      return fmt::format("the line has {}, which JSON has no value for; write null, or leave the field out", word);
    }
    in_string_ = line_[position_++] == '"';
    return std::nullopt;
  }

  std::optional<std::string> InString() {
    const char character = line_[position_];
    if (character == '"') in_string_ = false;
    if (character != '\\') {
      ++position_;
      return std::nullopt;
    }
    const auto value = EscapeAt(line_, position_);
    if (!value || (!IsHigh(*value) && !IsLow(*value))) {
      position_ += 2;
      return std::nullopt;
    }
    const auto next = EscapeAt(line_, position_ + 6);
    if (IsLow(*value) || !next || !IsLow(*next)) {
      return fmt::format("the line has {}, half of a surrogate pair, which is no character; remove it",
                         line_.substr(position_, 6));
    }
    position_ += 12;
    return std::nullopt;
  }

  std::string_view line_;
  size_t position_ = 0;
  bool in_string_ = false;
};

}  // namespace

absl::Status CheckStartsAsLines(const std::filesystem::path& path, std::string_view start) {
  for (const Kind& kind : kKinds) {
    if (start.starts_with(kind.start)) return Is(path, kind.what, kind.way_out);
  }
  if (LooksLikeUtf16(start)) return Is(path, "text in UTF-16", kFromUtf16);
  if (IsTape(start)) return Is(path, "a tar archive", kExtract);
  const size_t first = start.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || start[first] != '[') return absl::OkStatus();
  return Is(path, "one list",
            "write each of its items as a JSON object in a line of its own, for example with: jq -c .[]");
}

std::string WhyNotJson(std::string_view line) {
  if (!IsValidUtf8(line)) return "the line is not valid JSON in UTF-8: it has bytes of another encoding";
  if (const auto found = LineScan(line).Run()) return *found;
  try {
    // The result is of no use: the line is known not to parse.
    [[maybe_unused]] const auto parsed = nlohmann::json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    return fmt::format("the line is not valid JSON: byte {} is wrong, or the line ends too early", error.byte);
  } catch (const nlohmann::json::exception&) {
    return "the line has a number that is too large for JSON's readers; write a smaller one";
  }
  return "the line is not valid JSON";
}

}  // namespace regroup
