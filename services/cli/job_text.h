// A job's result and a job's failure, as text for a person. Pure.
#pragma once

#include <string>

#include "regroup/v1/job.pb.h"
#include "services/cli/terminal.h"

namespace regroup {

/// The figures as a table (a row for each model that was measured), and where the result and the report are.
std::string ResultText(const v1::Job& job, const Terminal& terminal);

/// What failed, why, the last log lines, and what to do next. `again` is the command that continues the job.
std::string FailureText(const v1::Job& job, const std::string& again, const Terminal& terminal);

/// "quality gate", "infrastructure", ...
std::string ClassWord(v1::FailureClass failure_class);

}  // namespace regroup
