#include "services/common/job_file/address.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/str_split.h"
#include "services/common/base/sha256.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr std::string_view kSeparator = "://";
constexpr size_t kLongest = 2048;
constexpr size_t kDigitsOfLocalName = 16;

struct Scheme {
  std::string_view word;
  AddressKind kind;
};
constexpr std::array<Scheme, 3> kSchemes = {
    {{"hf", AddressKind::kHub}, {"s3", AddressKind::kBucket}, {"https", AddressKind::kWeb}}};

template <typename... Values>
absl::Status Refuse(fmt::format_string<Values...> format, Values&&... values) {
  return absl::InvalidArgumentError(fmt::format(format, std::forward<Values>(values)...));
}

std::optional<AddressKind> KindOf(std::string_view text) {
  for (const Scheme& scheme : kSchemes) {
    if (text.starts_with(scheme.word) && text.substr(scheme.word.size()).starts_with(kSeparator)) return scheme.kind;
  }
  return std::nullopt;
}

/// Refuses what different programs read differently, and what could hold a secret.
absl::Status CheckCharacters(std::string_view text) {
  if (text.size() > kLongest) return Refuse("has {} bytes; an address has at most {}", text.size(), kLongest);
  const auto is_plain = [](unsigned char c) { return c > 0x20 && c < 0x7f && c != '\\' && c != '"' && c != '%'; };
  if (!std::all_of(text.begin(), text.end(), is_plain)) {
    return Refuse(
        "is not an address; write printable ASCII characters without spaces, quotation marks, backslashes and '%'");
  }
  return absl::OkStatus();
}

absl::Status CheckParts(const std::vector<std::string>& parts, std::string_view text) {
  for (const std::string& part : parts) {
    if (part.empty() || part == "." || part == "..") {
      return Refuse("'{}' has an empty part, '.' or '..'; write the address without it", text);
    }
  }
  return absl::OkStatus();
}

/// Only the last part may be a pattern: the folder that is listed must be known.
absl::Status CheckPattern(const std::vector<std::string>& parts, std::string_view text) {
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    if (parts[i].find_first_of("*?[") == std::string::npos) continue;
    return Refuse("'{}' has a pattern before its last part; write one there only", text);
  }
  return absl::OkStatus();
}

std::string Join(const std::vector<std::string>& parts, size_t first) {
  std::string joined;
  for (size_t i = first; i < parts.size(); ++i) joined += (joined.empty() ? "" : "/") + parts[i];
  return joined;
}

absl::StatusOr<Address> ParseHub(const std::vector<std::string>& parts, Address address) {
  const bool is_data_set = parts.front() == "datasets";
  const size_t first = is_data_set ? 1 : 0;
  if (parts.size() < first + 2) {
    return Refuse("'{}' names no repository; write hf://{}org/name@revision", address.text,
                  is_data_set ? "datasets/" : "");
  }
  const std::string& name = parts[first + 1];
  const size_t at = name.find('@');
  address.revision = at == std::string::npos ? "main" : name.substr(at + 1);
  if (at == 0 || address.revision.empty() || parts[first].find('@') != std::string::npos) {
    return Refuse("'{}' has its '@' in the wrong place; write hf://org/name@revision", address.text);
  }
  address.place = fmt::format("{}{}/{}", is_data_set ? "datasets/" : "", parts[first], name.substr(0, at));
  size_t next = first + 2;
  // The only revisions with slashes that can be told from paths.
  if (address.revision == "refs" && parts.size() >= next + 2) {
    address.revision = fmt::format("refs/{}/{}", parts[next], parts[next + 1]);
    next += 2;
  }
  address.path = Join(parts, next);
  return address;
}

absl::StatusOr<Address> ParseBucket(const std::vector<std::string>& parts, Address address) {
  const std::string& bucket = parts.front();
  const auto is_of_name = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  };
  if (bucket.size() < 3 || bucket.size() > 63 || !std::all_of(bucket.begin(), bucket.end(), is_of_name)) {
    return Refuse("'{}' is not the name of a bucket; use 3 to 63 lower-case letters, digits, hyphens and dots", bucket);
  }
  address.place = bucket;
  address.path = Join(parts, 1);
  if (address.path.empty()) return Refuse("'{}' names a whole bucket; write s3://bucket/prefix", address.text);
  return address;
}

absl::StatusOr<Address> ParseWeb(const std::vector<std::string>& parts, Address address) {
  if (parts.front().find('@') != std::string::npos) {
    return absl::InvalidArgumentError(
        "has credentials; every reader of the job would see them, so give them to the workers instead");
  }
  if (address.text.find_first_of("?#*[") != std::string::npos) {
    return absl::InvalidArgumentError(
        "has a query, a fragment or a pattern; a query often is a secret, and a host cannot list its files");
  }
  address.place = fmt::format("https://{}", parts.front());
  address.path = Join(parts, 1);
  if (address.path.empty()) return Refuse("'{}' names no path; write https://host/path", address.text);
  return address;
}

absl::Status CheckPrefix(std::string_view prefix) {
  REGROUP_RETURN_IF_ERROR(CheckCharacters(prefix));
  if (!KindOf(prefix)) return Refuse("'{}' does not begin with hf://, s3:// or https://", prefix);
  const std::string_view rest = prefix.substr(prefix.find(kSeparator) + kSeparator.size());
  if (rest.empty()) return absl::OkStatus();
  const std::vector<std::string> parts =
      absl::StrSplit(std::string(rest.ends_with('/') ? rest.substr(0, rest.size() - 1) : rest), '/');
  return CheckParts(parts, prefix);
}

}  // namespace

bool IsAddress(std::string_view text) {
  const size_t separator = text.find(kSeparator);
  return separator != std::string_view::npos && separator < text.find('/');
}

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  REGROUP_RETURN_IF_ERROR(CheckCharacters(text));
  const std::optional<AddressKind> kind = KindOf(text);
  if (!kind) {
    return Refuse("'{}' has a scheme that is not known; write hf://, s3:// or https://, or a path", text);
  }
  while (text.ends_with('/')) text.remove_suffix(1);
  const size_t start = text.find(kSeparator) + kSeparator.size();
  const std::vector<std::string> parts = absl::StrSplit(std::string(text.substr(std::min(start, text.size()))), '/');
  Address address{.kind = *kind, .text = std::string(text)};
  REGROUP_RETURN_IF_ERROR(CheckParts(parts, text));
  REGROUP_RETURN_IF_ERROR(CheckPattern(parts, text));
  switch (*kind) {
    case AddressKind::kHub:
      return ParseHub(parts, std::move(address));
    case AddressKind::kBucket:
      return ParseBucket(parts, std::move(address));
    case AddressKind::kWeb:
      return ParseWeb(parts, std::move(address));
  }
  return absl::InternalError("an address of no kind");
}

std::string LocalName(const Address& address) {
  const std::string& path = address.path.empty() ? address.place : address.path;
  const std::string digest = Sha256Of(address.text).substr(0, kDigitsOfLocalName);
  return fmt::format("{}/{}", digest, path.substr(path.rfind('/') + 1));
}

bool IsBelowOneOf(std::string_view address, const std::vector<std::string>& prefixes) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) {
    if (!address.starts_with(prefix)) return false;
    const std::string_view rest = address.substr(prefix.size());
    if (prefix.ends_with('/') || rest.empty() || rest.front() == '/') return true;
    // A revision begins behind the name of a repository, and nowhere else.
    return rest.front() == '@' && address.starts_with("hf://") && address.find('@') == prefix.size();
  });
}

std::string DoubtAboutPrefix(const std::string& prefix) {
  const absl::Status status = CheckPrefix(prefix);
  return std::string(status.message());
}

}  // namespace regroup
