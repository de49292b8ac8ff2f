#include "coordinator/access/worker_binding.h"

#include <fmt/format.h>

#include <algorithm>

#include "services/common/base/error.h"

namespace regroup {
namespace {

constexpr size_t kLongestId = 63;
constexpr char kAnyEnd = '*';

bool Covers(std::string_view binding, std::string_view worker) {
  if (!binding.ends_with(kAnyEnd)) return !binding.empty() && binding == worker;
  binding.remove_suffix(1);
  return worker.starts_with(binding);
}

}  // namespace

bool IsWorkerId(std::string_view id) {
  return !id.empty() && id.size() <= kLongestId && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
  });
}

bool IsWorkerBinding(std::string_view binding) {
  if (binding.ends_with(kAnyEnd)) binding.remove_suffix(1);
  return IsWorkerId(binding);
}

absl::StatusOr<std::string> MakeWorkerBinding(const std::string& id, const std::string& prefix) {
  if (!id.empty() && !prefix.empty()) {
    return absl::InvalidArgumentError("give --worker or --worker-prefix, not both");
  }
  for (const std::string& text : {id, prefix}) {
    if (text.empty() || IsWorkerId(text)) continue;
    return absl::InvalidArgumentError(fmt::format(
        "\"{}\" cannot begin a worker's id; use at most 63 lower-case letters, digits, hyphens and dots", text));
  }
  return prefix.empty() ? id : prefix + kAnyEnd;
}

absl::Status CheckSpeaksFor(const Caller& caller, const std::string& worker) {
  if (caller.role == Role::kLocal || Covers(caller.worker, worker)) return absl::OkStatus();
  const std::string shown = IsWorkerId(worker) ? worker : "this worker";
  if (caller.jwt != nullptr) {
    return MakeError(
        absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED,
        fmt::format("the JWT of \"{}\" is for worker {}, not for {}; the file of --jwt-roles says for which "
                    "workers, with worker or worker_claim",
                    caller.name, caller.worker, shown));
  }
  return MakeError(
      absl::StatusCode::kPermissionDenied, v1::NOT_ALLOWED,
      fmt::format("token \"{}\" is for worker {}, not for {}; give each worker its own token, or bind this "
                  "one to the prefix of the workers' ids with `regroup-coordinator token bind {} "
                  "--worker-prefix PREFIX`",
                  caller.name, caller.worker, shown, caller.name));
}

}  // namespace regroup
