// The files that a job names as data: a file, the data files of a folder, or those that a pattern fits.
//
// Any thread may call. Folders are listed only where the rules of InputFile allow it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace regroup {

inline constexpr size_t kMostDataFiles = 10'000;

/// Returns the files of one name, sorted by their paths. A name that no file has may be a pattern, in which *, ? and
/// [...] stand for parts of a name between two slashes. NOT_FOUND if a pattern fits nothing; INVALID_ARGUMENT for a
/// folder without data files and for more than kMostDataFiles. A file is returned as named, and not opened.
absl::StatusOr<std::vector<std::filesystem::path>> DataFilesOf(const std::string& name);

/// The files of several names, in the order of the names.
struct DataFiles {
  std::vector<std::string> names;
  /// For each name, the number of its files.
  std::vector<size_t> counts;
  std::vector<std::filesystem::path> files;

  /// Returns a digest for each name, from one for each file.
  std::vector<std::string> DigestsOfNames(const std::vector<std::string>& of_files) const;
};

/// Returns the errors of DataFilesOf, and INVALID_ARGUMENT if two names mean the same file.
absl::StatusOr<DataFiles> FindDataFiles(const std::vector<std::string>& names);

/// Returns one digest for several: a single one as it is, otherwise the SHA-256 of all, each followed by a line break.
std::string CombinedDigest(const std::vector<std::string>& digests);

/// Returns the digest of what a name stands for; the errors are those of DataFilesOf and FileDigest. Calls `tick`, if
/// there is one, after each file.
absl::StatusOr<std::string> DataDigest(const std::string& name, const std::function<void()>& tick = {});

/// Returns "a.jsonl" or "a.jsonl and 2 others", for messages.
std::string DescribeNames(const std::vector<std::string>& names);

/// Returns about how many bytes of JSON Lines the names stand for; what cannot be read counts nothing.
double EstimateDataBytes(const std::vector<std::string>& names);

}  // namespace regroup
