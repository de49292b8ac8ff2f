#include "services/worker/machine_check.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "services/common/base/files.h"
#include "services/common/base/logging.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"
#include "services/worker/logs/rank_logs.h"
#include "services/worker/machine.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kVisitInterval{100};
constexpr size_t kQuotedBytes = 500;

/// Returns the folder of each rank's output.
std::map<int, std::filesystem::path> RankFolders(const std::filesystem::path& logs) {
  std::map<int, std::filesystem::path> folders;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(logs, error), end; !error && entry != end; entry.increment(error)) {
    const int rank = RankOf(entry->path().filename().string());
    if (rank >= 0) folders[rank] = entry->path();
  }
  return folders;
}

std::vector<std::string> LinesOf(const std::filesystem::path& file) {
  std::vector<std::string> lines;
  std::istringstream text(ReadFile(file).value_or(""));
  for (std::string line; std::getline(text, line);) {
    if (!line.empty() && !IsDecoration(line)) lines.push_back(line);
  }
  return lines;
}

/// Returns why the check failed: the first error of a rank, or what mpirun or else a rank wrote.
std::string ReasonIn(const std::filesystem::path& logs) {
  std::vector<std::string> others;
  for (const char* const file : {"mpirun/stderr", "mpirun/stdout"}) {
    for (std::string& line : LinesOf(logs / file)) others.push_back(std::move(line));
  }
  for (const auto& [rank, folder] : RankFolders(logs)) {
    for (const std::string& line : LinesOf(folder / "stderr")) {
      const v1::LogEntry entry = ParseLogLine(line, LogStream::kStderr, rank);
      if (entry.severity() == v1::LOG_SEVERITY_ERROR) return fmt::format("rank {}: {}", rank, entry.message());
      others.push_back(fmt::format("rank {}: {}", rank, entry.message()));
    }
  }
  if (others.empty()) return "its processes ended without a reason";
  return fmt::format("{}", fmt::join(others, " ")).substr(0, kQuotedBytes);
}

/// Returns what rank 0 found; libraries such as NCCL may write to its standard output too.
std::optional<nlohmann::json> FiguresIn(const std::filesystem::path& logs) {
  const std::map<int, std::filesystem::path> folders = RankFolders(logs);
  if (!folders.contains(0)) return std::nullopt;
  for (const std::string& line : LinesOf(folders.at(0) / "stdout")) {
    nlohmann::json found = nlohmann::json::parse(line, nullptr, false);
    if (found.is_object() && found.contains("ranks")) return found;
  }
  return std::nullopt;
}

/// The worker answers signals only once it runs.
bool MustStop() {
  sigset_t pending;
  sigemptyset(&pending);
  sigpending(&pending);
  return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1 ||
         sigismember(&pending, SIGHUP) == 1;
}

/// Returns the wait status of the check's leader.
absl::StatusOr<int> RunCheck(const ProcessPlan& plan, const WorkerOptions& options) {
  const auto deadline = std::chrono::steady_clock::now() + options.check_patience;
  REGROUP_ASSIGN_OR_RETURN(const std::unique_ptr<ProcessGroup> group, ProcessGroup::Start(plan, std::nullopt));
  bool has_ended = false;
  while (!has_ended && !MustStop() && std::chrono::steady_clock::now() < deadline) {
    has_ended = group->WaitForExit(kVisitInterval);
  }
  if (!has_ended) {
    // mpirun and NCCL remove their files.
    group->Signal(SIGTERM);
    group->WaitForExit(options.stop_grace);
  }
  REGROUP_RETURN_IF_ERROR(group->KillEverything());
  if (has_ended) return group->wait_status();
  if (MustStop()) return absl::CancelledError("stopped during the check of this machine");
  return absl::DeadlineExceededError(fmt::format("it has not ended after {} s", options.check_patience.count() / 1000));
}

absl::Status Check(const AttemptServices& services, const std::filesystem::path& folder) {
  const WorkerOptions& options = services.options;
  if (options.slots > 1) REGROUP_RETURN_IF_ERROR(CheckLoopbackModule(options.loopback_module));
  const LaunchContext context{.attempt_folder = folder,
                              .temporary_folder = folder / "t",
                              .cores = services.cores,
                              .visible_devices = fmt::format("{}", fmt::join(UsableGpus(options.device), ",")),
                              .inherited = services.inherited};
  const std::filesystem::path logs = RankLogFolder(folder);
  REGROUP_RETURN_IF_ERROR(MakeFreshFolder(folder));
  REGROUP_RETURN_IF_ERROR(MakeFreshFolder(context.temporary_folder));
  REGROUP_RETURN_IF_ERROR(MakePrivateFolder(logs / (options.slots > 1 ? "mpirun" : "rank.0")));
  REGROUP_ASSIGN_OR_RETURN(const int status, RunCheck(MakeCheckPlan(options, context), options));
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return absl::UnavailableError(ReasonIn(logs));
  const std::optional<nlohmann::json> found = FiguresIn(logs);
  if (!found.has_value()) return absl::UnavailableError("rank 0 printed no figures");
  if ((*found)["ranks"] != options.slots) {
    return absl::UnavailableError(
        fmt::format("{} of {} ranks found one another", (*found)["ranks"].dump(), options.slots));
  }
  LogInfo("checked this machine", {{"figures", found->dump()}});
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckMachine(const AttemptServices& services) {
  const std::filesystem::path folder = services.runtime_folder / "check";
  const absl::Status status = Check(services, folder);
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  if (status.ok() || absl::IsCancelled(status)) return status;
  return absl::Status(status.code(), fmt::format("this machine failed its check: {} (--self-check never skips it)",
                                                 std::string(status.message())));
}

}  // namespace regroup
