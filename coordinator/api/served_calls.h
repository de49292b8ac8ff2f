// The calls of the API with what one request of each may cost.
#pragma once

#include "coordinator/api/cluster_service.h"
#include "coordinator/api/job_service.h"
#include "coordinator/api/worker_service.h"
#include "services/common/rpc/call_gate.h"

namespace regroup {

/// Adds every call of the three services, which must outlive the gate's server.
void AddCalls(JobService* jobs, ClusterService* cluster, WorkerService* workers, CallGate* gate);

}  // namespace regroup
