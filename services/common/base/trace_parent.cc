#include "services/common/base/trace_parent.h"

#include <algorithm>

namespace regroup {
namespace {

constexpr size_t kVersion = 2;
constexpr size_t kTraceId = 32;
constexpr size_t kParentId = 16;
constexpr size_t kFlags = 2;
constexpr size_t kLength = kVersion + 1 + kTraceId + 1 + kParentId + 1 + kFlags;
/// Longest value of a later version that is kept.
constexpr size_t kLongest = 256;

bool IsHexadecimal(std::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool IsZero(std::string_view text) { return text.find_first_not_of('0') == std::string_view::npos; }

bool IsPrintableAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

bool IsTraceparent(std::string_view text) {
  if (text.size() < kLength || text.size() > kLongest) return false;
  const std::string_view version = text.substr(0, kVersion);
  const std::string_view trace = text.substr(kVersion + 1, kTraceId);
  const std::string_view parent = text.substr(kVersion + 1 + kTraceId + 1, kParentId);
  const std::string_view flags = text.substr(kLength - kFlags, kFlags);
  const std::string_view rest = text.substr(kLength);
  if (text[kVersion] != '-' || text[kVersion + 1 + kTraceId] != '-' || text[kLength - kFlags - 1] != '-') return false;
  for (const std::string_view part : {version, trace, parent, flags}) {
    if (!IsHexadecimal(part)) return false;
  }
  if (version == "ff" || IsZero(trace) || IsZero(parent)) return false;
  return rest.empty() || (version != "00" && rest.front() == '-' && IsPrintableAscii(rest));
}

}  // namespace regroup
