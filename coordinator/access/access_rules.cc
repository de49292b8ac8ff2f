#include "coordinator/access/access_rules.h"

#include <algorithm>
#include <string>

namespace regroup {
namespace {

constexpr unsigned Bit(Role role) { return static_cast<unsigned>(role); }

constexpr unsigned kReaders = Bit(Role::kViewer) | Bit(Role::kSubmitter) | Bit(Role::kAdmin);
constexpr unsigned kSubmitters = Bit(Role::kSubmitter) | Bit(Role::kAdmin);
constexpr unsigned kAdmins = Bit(Role::kAdmin);
constexpr unsigned kWorkers = Bit(Role::kWorker);

const AccessRule* FindRule(std::string_view method) {
  const auto& rules = AccessRules();
  const auto found =
      std::find_if(rules.begin(), rules.end(), [method](const AccessRule& rule) { return rule.method == method; });
  return found == rules.end() ? nullptr : &*found;
}

}  // namespace

std::string_view RoleName(Role role) {
  switch (role) {
    case Role::kViewer:
      return "viewer";
    case Role::kSubmitter:
      return "submitter";
    case Role::kAdmin:
      return "admin";
    case Role::kWorker:
      return "worker";
    case Role::kLocal:
      return "local";
  }
  return "";
}

std::optional<Role> RoleFromName(std::string_view name) {
  for (const Role role : {Role::kViewer, Role::kSubmitter, Role::kAdmin, Role::kWorker}) {
    if (RoleName(role) == name) return role;
  }
  return std::nullopt;
}

const std::vector<AccessRule>& AccessRules() {
  // Calls that are open to submitters check the job's owner themselves.
  static const std::vector<AccessRule> rules = {
      {"JobService/SubmitJob", kSubmitters},
      {"JobService/GetJob", kReaders},
      {"JobService/ListJobs", kReaders},
      {"JobService/CancelJob", kSubmitters},
      {"JobService/RetryJob", kSubmitters},
      {"JobService/PauseJob", kSubmitters},
      {"JobService/ResumeJob", kSubmitters},
      {"JobService/DeleteJob", kSubmitters},
      {"JobService/PlanJob", kReaders},
      {"JobService/WatchJob", kReaders},
      {"JobService/StreamLogs", kReaders},
      {"JobService/StreamMetrics", kReaders},
      {"ClusterService/ListWorkers", kReaders},
      {"ClusterService/GetWorker", kReaders},
      {"ClusterService/DrainWorker", kAdmins},
      {"ClusterService/UndrainWorker", kAdmins},
      {"ClusterService/GetServerInfo", kReaders | kWorkers},
      {"ClusterService/ListAuditEntries", kAdmins},
      {"ClusterService/BackupStore", kAdmins},
      {"WorkerService/RegisterWorker", kWorkers},
      {"WorkerService/Heartbeat", kWorkers},
      {"WorkerService/AcquireTask", kWorkers},
      {"WorkerService/ReportTask", kWorkers},
      {"WorkerService/PushLogs", kWorkers},
  };
  return rules;
}

bool MayCall(Role role, std::string_view method) {
  const AccessRule* rule = FindRule(method);
  return rule != nullptr && (role == Role::kLocal || (rule->roles & Bit(role)) != 0);
}

std::string RolesThatMayCall(std::string_view method) {
  std::string names;
  for (const Role role : {Role::kViewer, Role::kSubmitter, Role::kAdmin, Role::kWorker}) {
    if (!MayCall(role, method)) continue;
    names += names.empty() ? "" : " or ";
    names += RoleName(role);
  }
  return names.empty() ? "nobody" : names;
}

}  // namespace regroup
