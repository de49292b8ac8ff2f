#include "services/worker/logs/rank_logs.h"

#include <charconv>
#include <string>
#include <utility>

namespace regroup {
namespace {

constexpr size_t kBytesPerVisit = 1 << 20;
constexpr size_t kLauncherBytes = 64 * 1024;
constexpr std::string_view kRankPrefix = "rank.";

/// The number in "rank.07", or -1. Open MPI pads it with zeros.
int RankOf(const std::string& name) {
  if (!name.starts_with(kRankPrefix)) return -1;
  int rank = -1;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kRankPrefix.size(), end, rank);
  return parsed.ec == std::errc() && parsed.ptr == end ? rank : -1;
}

/// Open MPI frames what it says with lines of hyphens.
bool IsDecoration(std::string_view line) { return line.find_first_not_of("- ") == std::string_view::npos; }

}  // namespace

RankLogs::RankLogs(std::filesystem::path folder, int ranks, LogCollector* collector)
    : folder_(std::move(folder)), ranks_(ranks), collector_(collector) {
  if (ranks_ > 1) AddFolder(folder_ / "mpirun", 0, true);
}

void RankLogs::AddFolder(const std::filesystem::path& folder, int rank, bool launcher) {
  sources_.push_back({rank, LogStream::kStdout, launcher, LogFileTail(folder / "stdout")});
  sources_.push_back({rank, LogStream::kStderr, launcher, LogFileTail(folder / "stderr")});
}

void RankLogs::FindNewRanks() {
  if (static_cast<int>(known_ranks_.size()) == ranks_) return;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder_, error), end; !error && entry != end; entry.increment(error)) {
    const int rank = RankOf(entry->path().filename().string());
    if (rank >= 0 && known_ranks_.insert(rank).second) AddFolder(entry->path(), rank, false);
  }
}

void RankLogs::Take(const Source& source, std::string_view line) {
  if (source.launcher) {
    if (IsDecoration(line)) return;
    launcher_output_.append(line).append("\n");
    if (launcher_output_.size() > kLauncherBytes) launcher_output_.erase(0, launcher_output_.size() - kLauncherBytes);
  }
  collector_->AddLine(ParseLogLine(line, source.stream, source.rank));
}

bool RankLogs::ForwardSome(Source& source) {
  return source.tail.ReadLines(kBytesPerVisit, [&](std::string_view line) { Take(source, line); });
}

void RankLogs::Forward() {
  FindNewRanks();
  for (Source& source : sources_) ForwardSome(source);
}

void RankLogs::ForwardRest() {
  FindNewRanks();
  for (Source& source : sources_) {
    while (ForwardSome(source)) {
    }
    source.tail.ReadUnfinishedLine([&](std::string_view line) { Take(source, line); });
  }
}

}  // namespace regroup
