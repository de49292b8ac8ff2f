// Names of the API's resources: "jobs/<job>", "workers/<worker>", "jobs/<job>/tasks/<task>".
//
// Pure functions, for any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace regroup {

inline constexpr char kJobCollection[] = "jobs";
inline constexpr char kWorkerCollection[] = "workers";

std::string JobName(std::string_view job);
std::string WorkerName(std::string_view worker);
std::string TaskName(std::string_view job, std::string_view task);

/// Completes a name typed by a person: returns "jobs/x" for "x" and for "jobs/x", with collection "jobs".
std::string FullName(std::string_view collection, std::string_view text);

/// Returns the id in "<collection>/<id>"; nothing for any other form, which cannot name an existing resource.
std::optional<std::string> IdIn(std::string_view collection, std::string_view name);

struct TaskNameParts {
  std::string job;
  std::string task;
};

/// Returns both ids of a task's name; nothing for any other form.
std::optional<TaskNameParts> ParseTaskName(std::string_view name);

/// Returns what follows the last slash: the id in a well-formed name. A name without a slash is its own last segment.
std::string LastSegment(std::string_view name);

}  // namespace regroup
