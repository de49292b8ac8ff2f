// The commands of `regroup`, each group in the .cc file of its name. Called by main, before anything is parsed.
#pragma once

#include <cstddef>
#include <string>

#include "regroup/v1/job_service.pb.h"
#include "regroup/v1/plan.pb.h"
#include "services/cli/command.h"

namespace regroup {

/// Adds workers, drain, undrain and audit (cluster_commands.cc).
void AddClusterCommands(CLI::App& app, CommandLine& line);

/// Adds init, which writes a first job file (init_command.cc).
void AddInitCommand(CLI::App& app, CommandLine& line);

/// Adds submit, get, list, cancel, retry and delete, one request each (job_commands.cc).
void AddJobCommands(CLI::App& app, CommandLine& line);

/// Adds families and inspect, which ask the trainer program beside this one; no coordinator is needed
/// (model_commands.cc).
void AddModelCommands(CLI::App& app, CommandLine& line);

/// Adds plan (plan_command.cc).
void AddPlanCommand(CLI::App& app, CommandLine& line);

/// Adds report, which shows the figures of a finished job (report_command.cc).
void AddReportCommand(CLI::App& app, CommandLine& line);

/// Adds run, which does a whole conversion on this machine (run_command.cc).
void AddRunCommand(CLI::App& app, CommandLine& line);

/// Adds watch, logs and metrics, which read a stream until the job is final (stream_commands.cc).
void AddStreamCommands(CLI::App& app, CommandLine& line);

/// Adds top, which shows jobs and workers in a live table (top_command.cc).
void AddTopCommand(CLI::App& app, CommandLine& line);

/// Adds completion (completion_command.cc). Call last: the script names the commands that exist when it runs.
void AddCompletionCommand(CLI::App& app, CommandLine& line);

// Output of these commands as pure functions, for tests.

/// Returns a script that completes commands, options and file names in bash; preceded by zsh's bash compatibility for
/// `zsh`.
std::string CompletionScript(const CLI::App& app, const std::string& shell);

/// Returns the plan of a coordinator's answer. A coordinator before 0.2 sends only the figures that the answer itself
/// holds.
v1::JobPlan PlanOf(const v1::PlanJobResponse& response);

/// Returns a plan as text for a terminal of `columns` columns, without lines for unset fields: a coordinator reports
/// nothing about its own machine.
std::string PlanText(const v1::JobPlan& plan, size_t columns);

}  // namespace regroup
