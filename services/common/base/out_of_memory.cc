#include "services/common/base/out_of_memory.h"

#include <fmt/format.h>

#include <new>
#include <string_view>

namespace regroup {
namespace {

constexpr char kWords[] = "out of memory";
constexpr size_t kLongestText = 2000;

/// Returns what stands between two texts: the end of the first and the next place of the second.
std::optional<std::string> Between(std::string_view text, std::string_view before, std::string_view after) {
  const size_t begin = text.find(before);
  if (begin == std::string_view::npos) return std::nullopt;
  const std::string_view rest = text.substr(begin + before.size());
  const size_t end = rest.find(after);
  if (end == std::string_view::npos) return std::nullopt;
  return std::string(rest.substr(0, end));
}

bool SaysOutOfMemory(std::string_view text) {
  for (const std::string_view sign :
       {"can't allocate memory", "out of memory", "Out of Memory", "CUBLAS_STATUS_ALLOC_FAILED"}) {
    if (text.find(sign) != std::string_view::npos) return true;
  }
  return false;
}

}  // namespace

absl::Status OutOfMemory(const std::optional<std::string>& asked_for) {
  return absl::ResourceExhaustedError(asked_for ? fmt::format("{}: {} more were asked for", kWords, *asked_for)
                                                : std::string(kWords));
}

bool IsOutOfMemory(const absl::Status& status) {
  return absl::IsResourceExhausted(status) && status.message().find(kWords) != absl::string_view::npos;
}

absl::Status StatusOfException(const std::exception& error) {
  const std::string_view text = error.what();
  if (dynamic_cast<const std::bad_alloc*>(&error) != nullptr) return OutOfMemory();
  if (!SaysOutOfMemory(text)) return absl::InternalError(std::string(text.substr(0, kLongestText)));
  if (const auto bytes = Between(text, "you tried to allocate ", " bytes")) return OutOfMemory(*bytes + " bytes");
  return OutOfMemory(Between(text, "Tried to allocate ", ". "));
}

}  // namespace regroup
