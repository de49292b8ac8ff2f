// Names of staging folders, in which a result is completed before it is published: a hidden folder beside the final
// name, because publishing is one rename within one file system. The trainer fills it; the worker renames it, or
// removes it after a failed attempt.
//
// Every function may be called from any thread.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace regroup {

/// Returns the folder without a slash at its end, which jobs of earlier versions may still have.
inline std::filesystem::path NamedFolder(const std::filesystem::path& output) {
  return output.has_filename() ? output : output.parent_path();
}

/// Returns the prefix of the names of all staging folders of a job; `output` is the final folder.
inline std::string StagingPrefix(const std::filesystem::path& output, const std::string& job) {
  return fmt::format(".{}.regroup-{}-", NamedFolder(output).filename().string(), job);
}

/// Returns the staging folder of one attempt. Each epoch has its own, so that a superseded attempt cannot interfere.
inline std::filesystem::path StagingFolder(const std::filesystem::path& output, const std::string& job, int64_t epoch) {
  return NamedFolder(output).parent_path() / fmt::format("{}{}", StagingPrefix(output, job), epoch);
}

}  // namespace regroup
