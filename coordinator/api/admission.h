// Steps that every call begins and ends with: identifying the caller, extracting the resource's id, writing the audit
// entry.
#pragma once

#include <grpcpp/server_context.h>

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/access/access.h"
#include "coordinator/core/core.h"

namespace regroup {

/// A call that passed the access check.
struct Admission {
  Caller caller;
  std::string_view method;
  /// Id in the name of the resource that the call is about.
  std::string id;
};

/// Checks access and extracts the id from "jobs/{job}" for collection "jobs". `method` must be a literal.
absl::StatusOr<Admission> AdmitTo(Access* access, const grpc::ServerContextBase& context, std::string_view method,
                                  std::string_view collection, const std::string& name);

/// Reason in the audit log for a job that is another owner's.
inline constexpr char kAnothersJob[] = "the job belongs to another owner";

/// Returns OK if the caller may see jobs of this owner, otherwise what it would get if there were no such job: nobody
/// can find out which jobs others have.
absl::Status CheckOwner(const Caller& caller, const std::string& job, const std::string& owner);

/// Returns OK if the caller may use the job, be it live or only in the store. NOT_FOUND for an unknown job and for
/// another owner's.
absl::Status CheckMayUse(const Caller& caller, const std::string& job, const Turn& turn);

/// Does the same for an admitted call, and tells the audit log if the job is another owner's.
absl::Status CheckMayUse(Access* access, const Admission& admission, const Turn& turn);

/// Adds an audit entry of a refused call to the batch.
void AuditRefusal(const Refusal& refusal, Turn* turn);

/// Adds an audit entry to the batch that makes the change.
void Audit(const Caller& caller, std::string_view method, const std::string& resource, Turn* turn);

/// Finishes a call with the status.
grpc::ServerUnaryReactor* FinishWith(grpc::CallbackServerContext* context, const absl::Status& status);

}  // namespace regroup
