// Where a result is made ready before it is published: a hidden folder beside its final name, because publishing is one
// rename within one file system. The trainer fills it; the worker renames it, or removes what an attempt left.
//
// Every function may be called from any thread.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <string>

namespace regroup {

/// How the names of all such folders of a job begin; `output` is the final folder.
inline std::string StagingPrefix(const std::filesystem::path& output, const std::string& job) {
  return fmt::format(".{}.regroup-{}-", output.filename().string(), job);
}

/// The folder of one attempt. Another epoch has another folder, so that a superseded attempt disturbs nobody.
inline std::filesystem::path StagingFolder(const std::filesystem::path& output, const std::string& job, int64_t epoch) {
  return output.parent_path() / fmt::format("{}{}", StagingPrefix(output, job), epoch);
}

}  // namespace regroup
