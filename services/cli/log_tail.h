// The end of a log file, as a person reads it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace regroup {

/// The last lines, oldest first; of a JSON line its message and fields. Empty where the file cannot be read.
std::vector<std::string> LogTail(const std::filesystem::path& file, size_t lines);

/// "ERROR message (key value, ...)" for a JSON log line; any other line as it is.
std::string ReadableLogLine(const std::string& line);

}  // namespace regroup
