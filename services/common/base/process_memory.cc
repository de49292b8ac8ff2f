#include "services/common/base/process_memory.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace regroup {
namespace {

/// One of the two forms of control groups that Linux has.
struct GroupForm {
  /// Part of a line of /proc/self/cgroup before the group's path: "5:memory:/system.slice".
  std::string_view mark;
  std::string_view root;
  std::string_view limit;
};

constexpr std::array<GroupForm, 2> kForms = {
    {{"0::", "/sys/fs/cgroup", "memory.max"}, {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"}}};

/// Returns the path of the process's group below the root of all groups: "/system.slice/regroup.service".
std::filesystem::path OwnGroup(const GroupForm& form) {
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t mark = line.find(form.mark);
    if (mark != std::string::npos) return line.substr(mark + form.mark.size());
  }
  return "/";
}

/// Returns the tightest limit of the group and of those around it. In a container the root is the container's own.
size_t LimitOf(const GroupForm& form, size_t most) {
  for (std::filesystem::path group = OwnGroup(form);; group = group.parent_path()) {
    size_t limit = 0;
    // The word "max" stands for none.
    const std::filesystem::path file = std::filesystem::path(std::string(form.root) + group.string()) / form.limit;
    if (std::ifstream(file) >> limit) most = std::min(most, limit);
    if (!group.has_relative_path()) return most;
  }
}

}  // namespace

ProcessMemory MemoryInUse() {
  unsigned long total_pages = 0;
  unsigned long resident_pages = 0;
  std::FILE* const file = std::fopen("/proc/self/statm", "re");
  if (file == nullptr) return {};
  const bool is_read = std::fscanf(file, "%lu %lu", &total_pages, &resident_pages) == 2;
  std::fclose(file);
  if (!is_read) return {};
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return {.resident = resident_pages * page, .virtual_size = total_pages * page};
}

size_t UsableMemory() {
  size_t least = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  for (const GroupForm& form : kForms) least = LimitOf(form, least);
  return least;
}

}  // namespace regroup
