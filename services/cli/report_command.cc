#include "services/cli/report_command.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include <nlohmann/json.hpp>

#include "services/base/files.h"
#include "services/base/status_macros.h"
#include "services/cli/job_text.h"
#include "services/cli/json_text.h"
#include "services/cli/quantity_text.h"
#include "services/cli/text_table.h"

namespace regroup {
namespace {

absl::StatusOr<v1::Job> GetReportedJob(const CommandLine& line, const std::string& name) {
  v1::GetJobRequest request;
  request.set_name(JobName(name));
  REGROUP_ASSIGN_OR_RETURN(v1::Job job, line.Call(&Client::JobStub::GetJob, request));
  if (!job.report_folder().empty()) return job;
  return absl::FailedPreconditionError(
      fmt::format("{} has no report yet; follow it with: regroup watch {}", job.name(), name));
}

absl::StatusOr<nlohmann::json> ReadReport(const v1::Job& job) {
  const std::filesystem::path path = std::filesystem::path(job.report_folder()) / "report.json";
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  nlohmann::json report = nlohmann::json::parse(text, nullptr, false);
  if (!report.is_object()) return absl::DataLossError(fmt::format("{} is not JSON", path.string()));
  return report;
}

std::string StagesText(const nlohmann::json& report) {
  if (!report.contains("stages") || !report["stages"].is_array()) return "";
  TextTable table({"stage", "took"});
  table.AlignRight(1);
  for (const nlohmann::json& stage : report["stages"]) {
    if (!stage.is_object()) continue;
    table.Add({stage.value("name", ""), DurationText(stage.value("seconds", 0.0))});
  }
  return "\n" + table.Render("  ");
}

ExitCode Report(const std::string& name, const CommandLine& line) {
  const auto job = GetReportedJob(line, name);
  if (!job.ok()) return PrintError(job.status(), line.json);
  const auto report = ReadReport(*job);
  if (line.json && !report.ok()) return PrintError(report.status(), true);
  if (line.json) {
    Print(report->dump(2) + "\n");
    return kExitDone;
  }
  Print(ResultText(*job, StandardOutput()));
  Print(report.ok() ? StagesText(*report) : fmt::format("\n  {}\n", std::string(report.status().message())));
  return kExitDone;
}

}  // namespace

void AddReportCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("report", "Show the figures of a finished job");
  const auto job = std::make_shared<std::string>();
  command->add_option("job", *job, "The job's id")->required();
  command->callback(
      [&line, job] { line.selected = [job](const CommandLine& chosen) { return Report(*job, chosen); }; });
}

}  // namespace regroup
