// What happens at the beginning and at the end of every call: who calls, what it is about, and what is written down.
#pragma once

#include <grpcpp/server_context.h>

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/access/access.h"
#include "coordinator/core/core.h"

namespace regroup {

/// A call that may go on.
struct Admission {
  Caller caller;
  std::string_view method;
  /// The id in the name that the call is about.
  std::string id;
};

/// Admits the call and takes the id out of "jobs/{job}" for collection "jobs". `method` must be a literal.
absl::StatusOr<Admission> AdmitTo(Access* access, const grpc::ServerContextBase& context, std::string_view method,
                                  std::string_view collection, const std::string& name);

/// Whether the caller may use the job, wherever it is kept. NOT_FOUND, or PERMISSION_DENIED for another owner's.
absl::Status CheckMayUse(const Caller& caller, const std::string& job, const Turn& turn);

/// Writes down, with the batch that changes it, who changed what.
void Audit(const Caller& caller, std::string_view method, const std::string& resource, Turn* turn);

/// Ends a call that did not get further.
grpc::ServerUnaryReactor* FinishWith(grpc::CallbackServerContext* context, const absl::Status& status);

}  // namespace regroup
