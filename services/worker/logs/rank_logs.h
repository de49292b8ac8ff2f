// The log files of all ranks of one attempt: read as they grow, parsed line by line, and added to its collector.
//
// Each rank's standard output and error go to files, not pipes: lines of different ranks never mix, a slow reader never
// blocks a trainer, a dying worker never breaks its pipe, and the files stay beside the results. The attempt's thread
// owns these objects; only ParseLogLine, which is pure, is thread-safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "regroup/v1/job_service.pb.h"
#include "services/worker/logs/log_collector.h"

namespace regroup {

enum class LogStream { kStdout, kStderr };

/// Returns one line of a trainer's output as a log entry. A JSON object with "message" is split into its fields
/// (severity, time, rank; other keys are appended as key=value). Any other text is the message itself: INFO from
/// standard output, WARNING from standard error. `rank` is the rank whose file holds the line; it overrides the rank in
/// the line. Bytes that are not UTF-8 are replaced. Task, epoch and worker are not set.
v1::LogEntry ParseLogLine(std::string_view line, LogStream stream, int rank);

/// Returns the rank whose folder of output has this name, or -1. Open MPI writes "rank.07" if there are ten or more.
int RankOf(const std::string& name);

/// Returns true for the lines of hyphens with which Open MPI frames its messages.
bool IsDecoration(std::string_view line);

/// Reads complete lines from a file that another process appends to.
///
/// The file cannot fill the disk: only the end of what was read is kept; earlier blocks are released to the file system
/// while the file keeps its length, so that the process that appends is not affected. If the file system cannot do that
/// (NFS before 4.2), the file grows.
class LogFileTail {
 public:
  static constexpr int64_t kKeptBytes = 16 << 20;

  /// Keeps on the disk between `kept_bytes` and twice as much of what was read.
  explicit LogFileTail(std::filesystem::path path, int64_t kept_bytes = kKeptBytes)
      : path_(std::move(path)), kept_bytes_(kept_bytes) {}
  LogFileTail(LogFileTail&& other) noexcept;
  LogFileTail& operator=(LogFileTail&&) = delete;
  ~LogFileTail();

  /// Calls `on_line` for each line that has become complete since the last call; at most about `most_bytes` are read.
  /// Returns true if there may be more. A file that does not exist yet has no lines.
  bool ReadLines(size_t most_bytes, const std::function<void(std::string_view)>& on_line);

  /// Calls `on_line` for a last line that has no line break.
  void ReadUnfinishedLine(const std::function<void(std::string_view)>& on_line);

 private:
  bool ReadSome(size_t most_bytes, const std::function<void(std::string_view)>& on_line);
  void GiveBackOldBlocks();

  const std::filesystem::path path_;
  const int64_t kept_bytes_;
  int fd_ = -1;
  int64_t read_bytes_ = 0;
  /// Blocks before this offset were released.
  int64_t given_back_ = 0;
  std::string unfinished_;
};

class RankLogs {
 public:
  /// `folder` holds rank.<n>/{stdout,stderr}, which may appear later, and mpirun/{stdout,stderr} for a gang.
  RankLogs(std::filesystem::path folder, int ranks, LogCollector* collector);

  /// Forwards the lines that were written since the last call.
  void Forward();

  /// Forwards the rest, unfinished lines included; called after the last process has ended.
  void ForwardRest();

  /// Returns mpirun's own output, at most its last 64 KiB.
  const std::string& launcher_output() const { return launcher_output_; }

 private:
  struct Source {
    int rank;
    LogStream stream;
    bool launcher;
    LogFileTail tail;
  };

  void AddFolder(const std::filesystem::path& folder, int rank, bool launcher);
  void FindNewRanks();
  void Take(const Source& source, std::string_view line);
  bool ForwardSome(Source& source);

  const std::filesystem::path folder_;
  const int ranks_;
  LogCollector* const collector_;
  std::vector<Source> sources_;
  std::set<int> known_ranks_;
  std::string launcher_output_;
};

}  // namespace regroup
