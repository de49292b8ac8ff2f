#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>

#include <nlohmann/json.hpp>

#include "services/cli/commands.h"
#include "services/cli/json_text.h"
#include "services/cli/printable.h"
#include "services/cli/report_text.h"
#include "services/common/base/checksums.h"
#include "services/common/base/files.h"
#include "services/common/base/paths.h"
#include "services/common/base/printable_text.h"
#include "services/common/base/resource_names.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;

struct ReportOptions {
  std::string job;
  bool open = false;
  bool check = false;
};

/// Returns the report's folder if `text` is the folder of a result or of a report.
std::optional<fs::path> ReportFolderIn(const std::string& text) {
  for (const fs::path& folder : {fs::path(text) / "regroup", fs::path(text)}) {
    if (Exists(folder / "report.json")) return folder;
  }
  return std::nullopt;
}

absl::StatusOr<fs::path> FindReport(const std::string& text, const CommandLine& line) {
  if (const auto folder = ReportFolderIn(text)) return *folder;
  std::error_code unreadable;
  if (fs::is_directory(text, unreadable)) {
    return absl::NotFoundError(fmt::format("{} is the folder of no result: it has no regroup/report.json", text));
  }
  v1::GetJobRequest request;
  request.set_name(FullName(kJobCollection, text));
  REGROUP_ASSIGN_OR_RETURN(const v1::Job job, line.Call(&Client::JobStub::GetJob, request));
  if (!job.report_folder().empty()) return fs::path(job.report_folder());
  return absl::FailedPreconditionError(
      fmt::format("{} has no report yet; follow it with: regroup watch {}", job.name(), text));
}

absl::StatusOr<nlohmann::json> ReadReport(const fs::path& folder) {
  const fs::path path = folder / "report.json";
  REGROUP_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxReportBytes));
  nlohmann::json report = nlohmann::json::parse(text, nullptr, false);
  if (!report.is_object()) return absl::DataLossError(fmt::format("{} is not JSON", path.string()));
  return report;
}

/// Compares the files of a published result with the checksums in its report.
absl::Status CheckResult(const fs::path& report) {
  const fs::path sums = report / kChecksumFile;
  const absl::StatusOr<Checksums> checksums = ReadChecksums(sums);
  if (absl::IsNotFound(checksums.status())) {
    return absl::FailedPreconditionError(fmt::format(
        "{} does not exist: only the folder of a published result has it, and those of release 0.2 and older do not",
        sums.string()));
  }
  REGROUP_RETURN_IF_ERROR(checksums.status());
  if (checksums->empty()) return absl::DataLossError(fmt::format("{} is empty", sums.string()));
  return CheckFiles(Absolute(report / "..").lexically_normal(), *checksums);
}

/// Opens the page in $BROWSER or in the desktop's default browser.
absl::Status OpenPage(const fs::path& page) {
  const char* const chosen = std::getenv("BROWSER");
  std::string program = chosen == nullptr || *chosen == '\0' ? "xdg-open" : chosen;
  std::string file = page.string();
  char* const arguments[] = {program.data(), file.data(), nullptr};
  pid_t process = 0;
  if (posix_spawnp(&process, program.c_str(), nullptr, nullptr, arguments, environ) != 0) {
    return absl::FailedPreconditionError(
        fmt::format("cannot start {} to show the page; open {} yourself, or set BROWSER", program, file));
  }
  int status = 0;
  waitpid(process, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(fmt::format("{} could not show {}; open it yourself", program, file));
}

ExitCode Report(const ReportOptions& options, const CommandLine& line) {
  const auto folder = FindReport(options.job, line);
  if (!folder.ok()) return PrintError(folder.status(), line.json);
  if (options.check) {
    const absl::Status checked = CheckResult(*folder);
    if (!checked.ok()) return PrintError(checked, line.json);
  }
  const auto report = ReadReport(*folder);
  if (!report.ok()) return PrintError(report.status(), line.json);
  const fs::path page = *folder / "report.html";
  if (line.json) {
    Print(JsonText(*report));
  } else {
    Print(ReportText(Printable(*report), StandardOutput()) + fmt::format("\n  {}\n", PrintableText(page.string())));
    if (options.check)
      Print(fmt::format("  every file that {} lists is as it was published\n",
                        PrintableText((*folder / kChecksumFile).string())));
  }
  if (!options.open) return kExitDone;
  const absl::Status opened = OpenPage(page);
  return opened.ok() ? kExitDone : PrintError(opened, line.json);
}

}  // namespace

void AddReportCommand(CLI::App& app, CommandLine& line) {
  CLI::App* const command = app.add_subcommand("report", "Show the figures of a finished job");
  const auto options = std::make_shared<ReportOptions>();
  command->add_option("job", options->job, "The job's id, or the folder of a result")->required();
  command->add_flag("--open", options->open, "Also open the page in a browser ($BROWSER, or the desktop's default)");
  command->add_flag("--check", options->check, "First compare every file of the result with its checksum");
  command->footer("The page report.html is self-contained and needs no network.");
  command->callback(
      [&line, options] { line.selected = [options](const CommandLine& chosen) { return Report(*options, chosen); }; });
}

}  // namespace regroup
