#include "services/common/base/resource_names.h"

#include <fmt/format.h>

namespace regroup {
namespace {

constexpr std::string_view kTasksSegment = "/tasks/";

bool IsSegment(std::string_view text) { return !text.empty() && text.find('/') == std::string_view::npos; }

}  // namespace

std::string JobName(std::string_view job) { return fmt::format("{}/{}", kJobCollection, job); }

std::string WorkerName(std::string_view worker) { return fmt::format("{}/{}", kWorkerCollection, worker); }

std::string TaskName(std::string_view job, std::string_view task) {
  return fmt::format("{}/{}{}{}", kJobCollection, job, kTasksSegment, task);
}

std::string FullName(std::string_view collection, std::string_view text) {
  const std::string prefix = fmt::format("{}/", collection);
  return text.starts_with(prefix) ? std::string(text) : prefix + std::string(text);
}

std::optional<std::string> IdIn(std::string_view collection, std::string_view name) {
  const std::string prefix = fmt::format("{}/", collection);
  if (!name.starts_with(prefix) || !IsSegment(name.substr(prefix.size()))) return std::nullopt;
  return std::string(name.substr(prefix.size()));
}

std::optional<TaskNameParts> ParseTaskName(std::string_view name) {
  const size_t tasks = name.find(kTasksSegment);
  if (tasks == std::string_view::npos) return std::nullopt;
  std::optional<std::string> job = IdIn(kJobCollection, name.substr(0, tasks));
  const std::string_view task = name.substr(tasks + kTasksSegment.size());
  if (!job || !IsSegment(task)) return std::nullopt;
  return TaskNameParts{*std::move(job), std::string(task)};
}

std::string LastSegment(std::string_view name) { return std::string(name.substr(name.rfind('/') + 1)); }

}  // namespace regroup
