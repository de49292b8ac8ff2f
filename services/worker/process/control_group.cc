#include "services/worker/process/control_group.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <utility>

namespace regroup {
namespace {

/// Returns the mount point of cgroup version 2. It is field five: only the fields just before " - cgroup2" are
/// optional.
std::optional<std::filesystem::path> MountPoint() {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    if (fields >> id >> parent >> device >> root >> point) return point;
  }
  return std::nullopt;
}

/// Returns this process's group: the line "0::/path" of /proc/self/cgroup.
std::optional<std::filesystem::path> OwnGroup() {
  const std::optional<std::filesystem::path> mount = MountPoint();
  if (!mount) return std::nullopt;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (line.rfind("0::/", 0) == 0) return *mount / line.substr(4);
  }
  return std::nullopt;
}

}  // namespace

std::optional<ControlGroup> ControlGroup::Create(const std::string& name) {
  const std::optional<std::filesystem::path> own = OwnGroup();
  if (!own) return std::nullopt;
  ControlGroup group(*own / name);
  if (mkdir(group.folder_.c_str(), 0755) != 0) {
    group.folder_.clear();
    return std::nullopt;
  }
  // A kernel before 5.14 has no cgroup.kill; a container may show the tree but not let us use it. If anything is wrong,
  // the destructor removes the group.
  const bool usable =
      access((group.folder_ / "cgroup.kill").c_str(), W_OK) == 0 && access(group.join_file().c_str(), W_OK) == 0;
  if (!usable) return std::nullopt;
  return group;
}

std::vector<ControlGroup> ControlGroup::Leftovers(const std::string& prefix) {
  std::vector<ControlGroup> leftovers;
  const std::optional<std::filesystem::path> own = OwnGroup();
  if (!own) return leftovers;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(*own, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().filename().string().rfind(prefix, 0) == 0) leftovers.push_back(ControlGroup(entry->path()));
  }
  return leftovers;
}

ControlGroup::ControlGroup(ControlGroup&& other) noexcept : folder_(std::exchange(other.folder_, {})) {}

ControlGroup::~ControlGroup() {
  if (!folder_.empty()) rmdir(folder_.c_str());
}

void ControlGroup::Kill() const { std::ofstream(folder_ / "cgroup.kill") << "1"; }

std::vector<pid_t> ControlGroup::Processes() const {
  std::vector<pid_t> processes;
  std::ifstream list(join_file());
  for (pid_t pid = 0; list >> pid;) processes.push_back(pid);
  return processes;
}

}  // namespace regroup
