#include "services/cli/local_cluster.h"

#include <fmt/format.h>

#include <chrono>
#include <thread>

#include "services/cli/interrupt.h"
#include "services/cli/log_tail.h"
#include "services/common/base/files.h"
#include "services/common/base/private_files.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr int kMostRestarts = 4;
constexpr std::chrono::seconds kPauseBetweenRestarts{1};
constexpr std::chrono::seconds kHealthyAfter{60};
constexpr std::chrono::seconds kStartPatience{30};
constexpr std::chrono::seconds kStopPatience{15};

absl::Status EndedError(const std::string& name, const std::string& how, const std::filesystem::path& log) {
  std::string message = fmt::format("{} ended with {}", name, how);
  for (const std::string& line : LogTail(log, 8)) message += "\n    " + line;
  return absl::UnavailableError(message + fmt::format("\n  Its whole log: {}", log.string()));
}

/// Adds the flags that allow every address: what a user runs reaches what the user's own programs reach.
std::vector<std::string> WithAllAddresses(std::vector<std::string> arguments) {
  for (const char* prefix : {"hf://", "s3://", "https://"}) {
    arguments.emplace_back("--allow-remote");
    arguments.emplace_back(prefix);
  }
  return arguments;
}

}  // namespace

absl::StatusOr<LocalCluster> LocalCluster::Start(const LocalClusterOptions& options) {
  REGROUP_RETURN_IF_ERROR(MakePrivateFolder(options.work_folder / "logs"));
  REGROUP_ASSIGN_OR_RETURN(WorkFolderLock lock, WorkFolderLock::Take(options.work_folder));
  LocalCluster cluster(options, std::move(lock));
  REGROUP_RETURN_IF_ERROR(cluster.StartAll());
  return cluster;
}

absl::Status LocalCluster::StartAll() {
  std::error_code ignored;
  std::filesystem::remove(PortFile(), ignored);
  REGROUP_RETURN_IF_ERROR(Launch("regroup-coordinator", "coordinator", CoordinatorArguments("127.0.0.1:0")));
  REGROUP_ASSIGN_OR_RETURN(address_, AwaitAddress());
  // A restarted coordinator must keep the address of the first one.
  programs_.front().arguments = CoordinatorArguments(address_);
  for (int index = 0; index < options_.workers; ++index) REGROUP_RETURN_IF_ERROR(StartWorker(index));
  return absl::OkStatus();
}

std::vector<std::string> LocalCluster::CoordinatorArguments(const std::string& listen) const {
  const std::filesystem::path& work = options_.work_folder;
  return WithAllAddresses({"--listen", listen, "--metrics-listen", "127.0.0.1:0", "--work-dir", work.string(),
                           "--port-file", PortFile().string(), "--metrics-port-file", (work / "metrics.port").string(),
                           "--log-format", "json", "--die-with-parent"});
}

absl::Status LocalCluster::StartWorker(int index) {
  const std::string name = fmt::format("worker-{}", index + 1);
  return Launch(
      "regroup-worker", name,
      WithAllAddresses({"--coordinator", address_, "--work-dir", options_.work_folder.string(), "--id", "local-" + name,
                        "--slots", std::to_string(options_.slots), "--device", options_.device, "--workers-on-machine",
                        std::to_string(options_.workers), "--self-check", "never", "--log-format", "json",
                        "--allow-private-addresses", "--die-with-parent"}));
}

absl::Status LocalCluster::Launch(const std::string& program, const std::string& name,
                                  std::vector<std::string> arguments) {
  REGROUP_ASSIGN_OR_RETURN(const std::filesystem::path file, SiblingProgram(program));
  const std::filesystem::path log = options_.work_folder / "logs" / (name + ".log");
  REGROUP_ASSIGN_OR_RETURN(ChildProcess process, ChildProcess::Start(file, arguments, log));
  REGROUP_RETURN_IF_ERROR(lock_.Name(program, process.id()));
  programs_.push_back({name, file, std::move(arguments), log, std::move(process), std::chrono::steady_clock::now()});
  return absl::OkStatus();
}

absl::StatusOr<std::string> LocalCluster::AwaitAddress() {
  const auto deadline = std::chrono::steady_clock::now() + kStartPatience;
  Program& coordinator = programs_.front();
  while (std::chrono::steady_clock::now() < deadline && Interrupts() == 0) {
    const auto content = ReadFile(PortFile());
    if (content.ok() && content->ends_with('\n')) {
      return "127.0.0.1:" + content->substr(0, content->find_first_not_of("0123456789"));
    }
    if (coordinator.process.Ended()) {
      return EndedError("the coordinator", *coordinator.process.Ended(), coordinator.log);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (Interrupts() > 0) return absl::CancelledError("stopped before the job was submitted");
  return EndedError("the coordinator", "no open port in time", coordinator.log);
}

absl::StatusOr<std::vector<std::string>> LocalCluster::Supervise() {
  std::vector<std::string> notes;
  for (Program& program : programs_) {
    if (!program.process.Ended()) continue;
    const std::string how = *program.process.Ended();
    const auto now = std::chrono::steady_clock::now();
    if (now - program.start_time > kHealthyAfter) program.restarts = 0;
    if (program.restarts == kMostRestarts) return EndedError(program.name, how, program.log);
    // Restart at once the first time, then after longer and longer pauses.
    if (now - program.start_time < program.restarts * kPauseBetweenRestarts) continue;
    ++program.restarts;
    REGROUP_RETURN_IF_ERROR(Restart(program));
    notes.push_back(fmt::format("{} ended with {}; restarted", program.name, how));
  }
  return notes;
}

absl::Status LocalCluster::Restart(Program& program) {
  REGROUP_ASSIGN_OR_RETURN(program.process, ChildProcess::Start(program.file, program.arguments, program.log));
  program.start_time = std::chrono::steady_clock::now();
  return lock_.Name(program.file.filename().string(), program.process.id());
}

void LocalCluster::Stop() {
  for (size_t i = 1; i < programs_.size(); ++i) programs_[i].process.Terminate();
  for (size_t i = 1; i < programs_.size(); ++i) programs_[i].process.WaitOrKill(kStopPatience);
  if (!programs_.empty()) {
    programs_[0].process.Terminate();
    programs_[0].process.WaitOrKill(kStopPatience);
  }
  programs_.clear();
}

std::filesystem::path LocalCluster::PortFile() const { return options_.work_folder / "coordinator.port"; }

}  // namespace regroup
