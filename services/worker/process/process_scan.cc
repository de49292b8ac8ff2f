#include "services/worker/process/process_scan.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <optional>
#include <string_view>

#include "services/common/base/files.h"
#include "services/common/programs/spawn.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kRescanInterval{100};

std::optional<pid_t> ParsePid(const std::string& name) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return pid;
}

/// `environment` is a sequence of "NAME=value\0".
bool HasEntry(std::string_view environment, std::string_view entry) {
  while (!environment.empty()) {
    const size_t end = environment.find('\0');
    if (environment.substr(0, end) == entry) return true;
    if (end == std::string_view::npos) return false;
    environment.remove_prefix(end + 1);
  }
  return false;
}

bool HasEntries(pid_t pid, const std::vector<std::string>& entries) {
  const absl::StatusOr<std::string> environment = ReadFile(fmt::format("/proc/{}/environ", pid));
  if (!environment.ok()) return false;
  return std::all_of(entries.begin(), entries.end(),
                     [&](const std::string& entry) { return HasEntry(*environment, entry); });
}

}  // namespace

std::vector<pid_t> ProcessesWithEnvironment(const std::vector<std::string>& entries) {
  std::vector<pid_t> found;
  // An empty list would match every process of the machine.
  if (entries.empty()) return found;
  std::error_code error;
  for (std::filesystem::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::optional<pid_t> pid = ParsePid(entry->path().filename().string());
    if (pid && *pid != getpid() && HasEntries(*pid, entries)) found.push_back(*pid);
  }
  return found;
}

absl::Status KillUntilGone(const std::function<std::vector<pid_t>()>& find, std::chrono::milliseconds patience,
                           const std::string& what) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (true) {
    const std::vector<pid_t> left = find();
    if (left.empty()) return absl::OkStatus();
    if (std::chrono::steady_clock::now() > deadline) {
      return absl::InternalError(
          fmt::format("{} processes of {} survived SIGKILL, including pid {}", left.size(), what, left.front()));
    }
    for (const pid_t pid : left) kill(pid, SIGKILL);
    // Waits only briefly: one of them may have started another in the meantime.
    WaitForExits(left, kRescanInterval);
  }
}

}  // namespace regroup
