// Reads the end of a log file as text for people.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace regroup {

/// Returns the last lines, oldest first; for a JSON line its message and fields. Empty if the file cannot be read.
std::vector<std::string> LogTail(const std::filesystem::path& file, size_t lines);

/// Returns "ERROR message (key value, ...)" for a JSON log line, any other line unchanged.
std::string ReadableLogLine(const std::string& line);

}  // namespace regroup
