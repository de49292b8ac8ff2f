// The log files of all ranks of one attempt, fed line by line into its collector.
//
// Each rank's standard output and error go to files, not pipes: lines of different ranks never mix, a slow reader never
// blocks a trainer, a dying worker never breaks its pipe, and the files stay beside the results. Owned by the attempt's
// thread; not thread-safe.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "services/worker/logs/log_collector.h"
#include "services/worker/logs/log_file_tail.h"
#include "services/worker/logs/log_line.h"

namespace regroup {

class RankLogs {
 public:
  /// `folder` holds rank.<n>/{stdout,stderr}, as they appear, and mpirun/{stdout,stderr} for a gang.
  RankLogs(std::filesystem::path folder, int ranks, LogCollector* collector);

  /// Forwards what has come.
  void Forward();

  /// The same, to the end and with unfinished lines; after the last process has gone.
  void ForwardRest();

  /// What mpirun itself printed, at most its last 64 KiB.
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
