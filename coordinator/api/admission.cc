#include "coordinator/api/admission.h"

#include "coordinator/api/requests.h"
#include "services/common/base/status_macros.h"
#include "services/common/rpc/status.h"

namespace regroup {

absl::StatusOr<Admission> AdmitTo(Access* access, const grpc::ServerContextBase& context, std::string_view method,
                                  std::string_view collection, const std::string& name) {
  Admission admission{.method = method};
  REGROUP_ASSIGN_OR_RETURN(admission.caller, access->Admit(context, method));
  REGROUP_ASSIGN_OR_RETURN(admission.id, IdFromName(collection, name));
  return admission;
}

absl::Status CheckMayUse(const Caller& caller, const std::string& job, const Turn& turn) {
  if (const Job* live = turn.cluster.jobs().Find(job)) return CheckOwner(caller, job, live->proto().owner());
  REGROUP_ASSIGN_OR_RETURN(const JobRecord record, turn.store.GetJob(job));
  return CheckOwner(caller, job, record.job.owner());
}

void Audit(const Caller& caller, std::string_view method, const std::string& resource, Turn* turn) {
  v1::AuditEntry entry;
  *entry.mutable_time() = ToProto(turn->now);
  entry.set_caller(caller.name);
  entry.set_role(std::string(RoleName(caller.role)));
  entry.set_peer(caller.peer);
  entry.set_method(std::string(method));
  entry.set_resource(resource);
  turn->changes.audit.push_back(std::move(entry));
}

grpc::ServerUnaryReactor* FinishWith(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace regroup
