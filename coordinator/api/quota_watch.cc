#include "coordinator/api/quota_watch.h"

#include <utility>

#include "coordinator/api/quota_file.h"
#include "services/common/base/logging.h"
#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr std::chrono::milliseconds kInterval(1000);

/// A file that is missing has a version of its own.
FileVersion VersionOf(const std::filesystem::path& file) {
  struct stat now {};
  return stat(file.c_str(), &now) == 0 ? FileVersion(now) : FileVersion();
}

}  // namespace

QuotaWatch::QuotaWatch(std::filesystem::path file, Listener listener)
    : file_(std::move(file)), listener_(std::move(listener)) {}

absl::Status QuotaWatch::Start() {
  listener_.readable(true);
  if (file_.empty()) return absl::OkStatus();
  REGROUP_RETURN_IF_ERROR(Read());
  ticker_.emplace(kInterval, [this] { ReloadIfChanged(); });
  return absl::OkStatus();
}

absl::Status QuotaWatch::Read() {
  // Looked at before it is read: a change in between is noticed next time.
  seen_ = VersionOf(file_);
  REGROUP_ASSIGN_OR_RETURN(const Quotas quotas, ReadQuotas(file_));
  listener_.changed(quotas);
  LogInfo("quotas read", {{"file", file_.string()}, {"owners", quotas.of_owner.size()}});
  return absl::OkStatus();
}

void QuotaWatch::ReloadIfChanged() {
  if (VersionOf(file_) == seen_) return;
  const absl::Status status = Read();
  if (status == trouble_) return;
  if (!status.ok()) {
    LogError("the file of quotas cannot be used; those that were read last stay in force",
             {{"file", file_.string()}, {"reason", std::string(status.message())}});
  }
  if (status.ok() != trouble_.ok()) listener_.readable(status.ok());
  trouble_ = status;
}

}  // namespace regroup
