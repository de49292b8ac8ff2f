#include "coordinator/api/admission.h"

#include "coordinator/api/requests.h"
#include "services/common/base/resource_names.h"
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

absl::Status CheckOwner(const Caller& caller, const std::string& job, const std::string& owner) {
  return caller.SeesJobOf(owner) ? absl::OkStatus() : JobNotFound(job);
}

namespace {

absl::StatusOr<std::string> OwnerOf(const std::string& job, const Turn& turn) {
  if (const Job* live = turn.cluster.jobs().Find(job)) return live->proto().owner();
  REGROUP_ASSIGN_OR_RETURN(const JobRecord record, turn.store.GetJob(job));
  return record.job.owner();
}

/// Returns the text, cut to a size that keeps pages of entries small; never within a UTF-8 character.
std::string Shortened(std::string text) {
  constexpr size_t longest = 1024;
  if (text.size() <= longest) return text;
  size_t end = longest;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + "...";
}

v1::AuditEntry EntryOf(const Caller& caller, std::string_view method, const std::string& resource, Time now) {
  v1::AuditEntry entry;
  *entry.mutable_time() = ToProto(now);
  entry.set_caller(caller.name);
  entry.set_role(std::string(RoleName(caller.role)));
  entry.set_peer(caller.peer);
  entry.set_method(std::string(method));
  entry.set_resource(resource);
  return entry;
}

}  // namespace

absl::Status CheckMayUse(const Caller& caller, const std::string& job, const Turn& turn) {
  REGROUP_ASSIGN_OR_RETURN(const std::string owner, OwnerOf(job, turn));
  return CheckOwner(caller, job, owner);
}

absl::Status CheckMayUse(Access* access, const Admission& admission, const Turn& turn) {
  REGROUP_ASSIGN_OR_RETURN(const std::string owner, OwnerOf(admission.id, turn));
  const absl::Status status = CheckOwner(admission.caller, admission.id, owner);
  if (!status.ok()) access->NoteRefused(admission.caller, admission.method, JobName(admission.id), kAnothersJob);
  return status;
}

void Audit(const Caller& caller, std::string_view method, const std::string& resource, Turn* turn) {
  turn->changes.audit.push_back(EntryOf(caller, method, resource, turn->now));
}

void AuditRefusal(const Refusal& refusal, Turn* turn) {
  v1::AuditEntry entry = EntryOf(refusal.caller, refusal.method, refusal.resource, turn->now);
  // Nobody is known to have the role that an open coordinator gives.
  if (refusal.caller.name.empty()) entry.clear_role();
  entry.set_refusal(Shortened(refusal.why));
  entry.set_refusals_left_out(refusal.left_out);
  turn->changes.audit.push_back(std::move(entry));
}

grpc::ServerUnaryReactor* FinishWith(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace regroup
