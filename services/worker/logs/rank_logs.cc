#include "services/worker/logs/rank_logs.h"

#include <fcntl.h>
#include <google/protobuf/util/time_util.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include <nlohmann/json.hpp>

#include "services/common/base/bounded_json.h"
#include "services/common/base/trace_parent.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// Longer messages are cut: log lines are for people to read.
constexpr size_t kLongestMessage = 16 * 1024;

/// Keys that have a field of their own in LogEntry, or that repeat the attempt the entry belongs to.
constexpr std::array<std::string_view, 9> kKnownKeys = {"message", "severity", "time",  "component",    "rank",
                                                        "job",     "task",     "epoch", kTraceparentKey};

v1::LogSeverity SeverityOf(std::string_view name, v1::LogSeverity otherwise) {
  if (name == "DEBUG") return v1::LOG_SEVERITY_DEBUG;
  if (name == "INFO") return v1::LOG_SEVERITY_INFO;
  if (name == "WARNING") return v1::LOG_SEVERITY_WARNING;
  if (name == "ERROR") return v1::LOG_SEVERITY_ERROR;
  return otherwise;
}

/// Replaces invalid UTF-8 by way of the JSON library, which does so when it writes text.
std::string ValidUtf8(std::string_view text) {
  const std::string quoted = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(quoted).get<std::string>();
}

std::string TextOf(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Returns the message, followed by the other keys in the order in which they were written.
std::string MessageOf(const Json& object) {
  std::string message = TextOf(object["message"]);
  for (const auto& [key, value] : object.items()) {
    if (std::find(kKnownKeys.begin(), kKnownKeys.end(), key) != kKnownKeys.end()) continue;
    message += " " + key + "=" + TextOf(value);
  }
  return message;
}

std::string StringAt(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

void FillFromJson(const Json& object, v1::LogEntry& entry) {
  entry.set_severity(SeverityOf(StringAt(object, "severity"), entry.severity()));
  google::protobuf::Timestamp time;
  if (google::protobuf::util::TimeUtil::FromString(StringAt(object, "time"), &time)) *entry.mutable_time() = time;
  entry.set_message(MessageOf(object));
}

/// A longer line is passed on in pieces of this size.
constexpr size_t kLongestLine = 64 * 1024;
constexpr int64_t kBlockBytes = 4096;

constexpr size_t kBytesPerVisit = 1 << 20;
constexpr size_t kLauncherBytes = 64 * 1024;
constexpr std::string_view kRankPrefix = "rank.";

}  // namespace

// Lines.

int RankOf(const std::string& name) {
  if (!name.starts_with(kRankPrefix)) return -1;
  int rank = -1;
  const char* end = name.data() + name.size();
  const auto parsed = std::from_chars(name.data() + kRankPrefix.size(), end, rank);
  return parsed.ec == std::errc() && parsed.ptr == end ? rank : -1;
}

bool IsDecoration(std::string_view line) { return line.find_first_not_of("- ") == std::string_view::npos; }

v1::LogEntry ParseLogLine(std::string_view line, LogStream stream, int rank) {
  v1::LogEntry entry;
  entry.set_severity(stream == LogStream::kStdout ? v1::LOG_SEVERITY_INFO : v1::LOG_SEVERITY_WARNING);
  entry.set_rank(rank);
  *entry.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  const std::string text = ValidUtf8(line);
  const bool may_be_json = text.starts_with("{") && JsonDepth(text) <= kMaxJsonDepth;
  const Json object = may_be_json ? Json::parse(text, nullptr, false) : Json();
  if (object.is_object() && object.contains("message")) {
    FillFromJson(object, entry);
  } else {
    entry.set_message(text);
  }
  if (entry.message().size() > kLongestMessage)
    entry.set_message(ValidUtf8(entry.message().substr(0, kLongestMessage)));
  return entry;
}

// Files that grow.

LogFileTail::LogFileTail(LogFileTail&& other) noexcept
    : path_(other.path_),
      kept_bytes_(other.kept_bytes_),
      fd_(std::exchange(other.fd_, -1)),
      read_bytes_(other.read_bytes_),
      given_back_(other.given_back_),
      unfinished_(std::move(other.unfinished_)) {}

LogFileTail::~LogFileTail() {
  if (fd_ >= 0) close(fd_);
}

bool LogFileTail::ReadLines(size_t most_bytes, const std::function<void(std::string_view)>& on_line) {
  const bool has_more = ReadSome(most_bytes, on_line);
  if (read_bytes_ - given_back_ > 2 * kept_bytes_) GiveBackOldBlocks();
  return has_more;
}

void LogFileTail::GiveBackOldBlocks() {
  const int64_t end = (read_bytes_ - kept_bytes_) / kBlockBytes * kBlockBytes;
  const int fd = open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  // If this fails, the file is only larger.
  (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, given_back_, end - given_back_);
  close(fd);
  given_back_ = end;
}

bool LogFileTail::ReadSome(size_t most_bytes, const std::function<void(std::string_view)>& on_line) {
  if (fd_ < 0) fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) return false;
  char buffer[16 * 1024];
  for (size_t total = 0; total < most_bytes;) {
    const ssize_t count = read(fd_, buffer, sizeof buffer);
    if (count <= 0) return false;
    total += static_cast<size_t>(count);
    read_bytes_ += count;
    unfinished_.append(buffer, static_cast<size_t>(count));
    size_t start = 0;
    for (size_t end; (end = unfinished_.find('\n', start)) != std::string::npos; start = end + 1) {
      on_line(std::string_view(unfinished_).substr(start, end - start));
    }
    unfinished_.erase(0, start);
    if (unfinished_.size() > kLongestLine) ReadUnfinishedLine(on_line);
  }
  return true;
}

void LogFileTail::ReadUnfinishedLine(const std::function<void(std::string_view)>& on_line) {
  if (unfinished_.empty()) return;
  on_line(unfinished_);
  unfinished_.clear();
}

// All ranks of an attempt.

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
