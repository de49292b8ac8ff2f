// Formats the progress display: one line for the job, one for each stage. Pure.
#pragma once

#include <string>
#include <vector>

#include "regroup/v1/job.pb.h"
#include "services/cli/stage_summary.h"
#include "services/cli/terminal.h"

namespace regroup {

/// Returns lines that fit the terminal's columns and rows; if there are too few rows, finished stages are dropped
/// first.
std::vector<std::string> ProgressLines(const v1::Job& job, double now_s, const Terminal& terminal);

/// Returns "finetune 40 %: step 80/200, 1:02, eta 1:33, 812 tokens/s, loss 2.310", for output that cannot be redrawn.
std::string PlainStageLine(const StageSummary& stage);

}  // namespace regroup
