// Chooses the slots of the workers that `regroup run` starts.
#pragma once

#include "absl/status/statusor.h"
#include "regroup/v1/job.pb.h"

namespace regroup {

/// Hardware that a machine offers to a worker.
struct LocalHardware {
  int cores = 1;
  /// GPUs that this process may use.
  int gpus = 0;
};

LocalHardware ThisHardware();

/// Returns true if the job computes on this machine's GPUs.
bool UsesGpus(const v1::JobSpec& resolved, const LocalHardware& hardware);

/// Workers that the user asked for; 0 slots if the number was left out.
struct LocalWorkers {
  int workers = 1;
  int slots = 0;
};

/// Returns the slots of one worker for a job: those asked for, else one for each GPU, or on CPUs two where there are
/// two cores, and in any case as many as the job's largest gang needs. INVALID_ARGUMENT if the gang could never start,
/// because it needs more slots than asked for or more GPUs than there are; or if several workers would share the GPUs.
absl::StatusOr<int> SlotsFor(const LocalWorkers& asked, const v1::JobSpec& resolved, const LocalHardware& hardware);

}  // namespace regroup
