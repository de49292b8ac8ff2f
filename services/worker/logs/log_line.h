// One line of a trainer's output as a log entry. Pure.
#pragma once

#include <string_view>

#include "regroup/v1/job_service.pb.h"

namespace regroup {

enum class LogStream { kStdout, kStderr };

/// A JSON object with "message" is taken apart (severity, time, rank; other keys are appended as key=value). Any other
/// text is the message itself: INFO from standard output, WARNING from standard error. `rank` is where the line came
/// from and wins over the line's own. Bytes that are not UTF-8 are replaced. Task, epoch and worker stay unset.
v1::LogEntry ParseLogLine(std::string_view line, LogStream stream, int rank);

}  // namespace regroup
