// Looks for damage inside the write-ahead log of a SQLite file. SQLite reads the log up to the first frame that does
// not match its checksum and takes the rest for a commit that was never finished. That is right for the last commit
// only: a commit starts when the one before it is on the disk (synchronous = FULL). If more commits follow, something
// has changed the log, and what would be dropped was acknowledged.
//
// May be called from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "absl/status/statusor.h"

namespace regroup {

struct LogDamage {
  /// Byte of the log at which the first damaged frame, or the header, starts.
  int64_t offset = 0;
  /// Commits from there on.
  int64_t commits = 0;
};

/// Returns the damage in the log, none if there is none or no log. Damage to the last commit cannot be told from a
/// commit that was being written. Call while nobody writes to the log. UNAVAILABLE if the log cannot be read.
/// Format: https://www.sqlite.org/fileformat2.html#walformat.
absl::StatusOr<std::optional<LogDamage>> FindLogDamage(const std::filesystem::path& log);

}  // namespace regroup
