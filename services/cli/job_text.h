// Formats a job's result or failure for people. Pure.
#pragma once

#include <string>

#include "regroup/v1/job.pb.h"
#include "services/cli/terminal.h"

namespace regroup {

/// Returns the figures as a table with a row for each measured model, the warnings, and the paths of
/// the result and the report.
std::string ResultText(const v1::Job& job, const Terminal& terminal);

/// A command that resumes a job.
struct Continuation {
  std::string command;
  /// True if the command reads the job file again.
  bool reads_job_file = false;
};

/// Returns the command that makes the coordinator run a job again.
Continuation RetryOf(const v1::Job& job);

/// Returns what failed and why, the last log lines, the job's warnings, and the next step.
std::string FailureText(const v1::Job& job, const Continuation& again, const Terminal& terminal);

/// "quality gate", "infrastructure", ...
std::string ClassWord(v1::FailureClass failure_class);

}  // namespace regroup
