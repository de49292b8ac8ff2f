#include "trainer/stages/job_text.h"

#include <fmt/format.h>

namespace regroup {

absl::Status AtKey(std::string_view key, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), fmt::format("{}: {}", key, std::string(status.message())));
}

absl::StatusOr<TokenWindows> BuildWindows(std::string_view key, const std::string& data, const SourceModel& source,
                                          const TokenWindowsOptions& options) {
  const auto tokenizer = LoadTokenizer(source.folder().path());
  if (!tokenizer.ok()) return AtKey("source.checkpoint", tokenizer.status());
  auto windows = TokenWindows::Build(data, **tokenizer, options);
  if (!windows.ok()) return AtKey(key, windows.status());
  return windows;
}

}  // namespace regroup
