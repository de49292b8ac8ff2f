// A coordinator and workers on this machine, for `regroup run`. Used from the main thread: the kernel ends the
// programs when the thread that started them ends.
#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "services/cli/work_folder_lock.h"
#include "services/common/programs/child_process.h"

namespace regroup {

struct LocalClusterOptions {
  std::filesystem::path work_folder;
  int workers = 1;
  int slots = 1;
  /// cpu or cuda.
  std::string device = "cpu";
};

/// Stops everything on destruction.
class LocalCluster {
 public:
  /// Locks the working folder, starts the programs beside this one and returns once the coordinator listens.
  static absl::StatusOr<LocalCluster> Start(const LocalClusterOptions& options);

  LocalCluster(LocalCluster&&) = default;
  LocalCluster& operator=(LocalCluster&&) = delete;
  ~LocalCluster() { Stop(); }

  /// Returns the coordinator's host:port.
  const std::string& address() const { return address_; }

  /// Restarts programs that ended unexpectedly and returns a message for each. Returns an error with the end of the log
  /// once a program has ended too often.
  absl::StatusOr<std::vector<std::string>> Supervise();

  /// Stops the workers first, so that they can sign off. Waits for all programs and kills those that do not end.
  void Stop();

 private:
  struct Program {
    std::string name;
    std::filesystem::path file;
    std::vector<std::string> arguments;
    std::filesystem::path log;
    ChildProcess process;
    std::chrono::steady_clock::time_point start_time;
    int restarts = 0;
  };

  LocalCluster(LocalClusterOptions options, WorkFolderLock lock)
      : options_(std::move(options)), lock_(std::move(lock)) {}

  absl::Status StartAll();
  std::vector<std::string> CoordinatorArguments(const std::string& listen) const;
  absl::Status StartWorker(int index);
  absl::Status Launch(const std::string& program, const std::string& name, std::vector<std::string> arguments);
  absl::Status Restart(Program& program);
  absl::StatusOr<std::string> AwaitAddress();
  std::filesystem::path PortFile() const;

  LocalClusterOptions options_;
  WorkFolderLock lock_;
  std::string address_;
  /// The coordinator first.
  std::vector<Program> programs_;
};

}  // namespace regroup
