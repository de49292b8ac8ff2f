// Finds the training curves that the attempts of a task have recorded (see curves.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace regroup {

/// Returns the records of an attempt, whose folder is <task>/<epoch>, and of those before it, the oldest first. What
/// cannot be read is left out: a curve is not worth a conversion.
std::vector<std::string> ReadRecordedCurves(const std::filesystem::path& attempt_folder);

/// Returns the value of a curve at the greatest step up to `last_step`, as the latest of these attempts recorded it;
/// nullopt if there is none. Holds one line at a time.
std::optional<double> RecordedValue(const std::filesystem::path& attempt_folder, const std::string& curve,
                                    int64_t last_step);

}  // namespace regroup
