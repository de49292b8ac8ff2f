// Sums and copies over the ranks of a gang. Three kinds: self (one process), MPI (CPU), NCCL (GPU).
//
// One thread at a time may call a communicator (see side_lane.h for collectives beside the computation). Tensors are
// contiguous and on the communicator's device. Every rank must make the same calls in the same order. A failed call
// leaves the gang unusable: the process should exit.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "trainer/parallel/activity.h"
#include "trainer/parallel/side_lane.h"

namespace regroup {

class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// tensor = sum over ranks of tensor, equal bits on every rank.
  absl::Status AllReduceSum(at::Tensor& tensor);
  /// output = this rank's slice of the sum of input; input has size() times as many entries as output.
  absl::Status ReduceScatterSum(const at::Tensor& input, at::Tensor& output);
  /// output = the inputs of all ranks in order of rank.
  absl::Status AllGather(const at::Tensor& input, at::Tensor& output);
  /// tensor = rank root's tensor.
  absl::Status Broadcast(at::Tensor& tensor, int root);
  absl::Status Barrier();
  /// Barrier for a long wait: on the CPU, those who wait leave their core to the others.
  absl::Status RestingBarrier();

  /// A lane for calls beside the computation. On the CPU those of another thread than the communicator's maker leave
  /// their core to others while they wait. The communicator must outlive it.
  virtual std::unique_ptr<SideLane> MakeSideLane() { return MakeThreadLane(); }

  /// Where running collectives are noted; may be null. Not owned.
  void set_activity(ActivityBoard* activity) { activity_ = activity; }
  /// Bytes this rank has sent, by the ring model: 2 (n-1)/n for a sum, (n-1)/n for the other two.
  int64_t bytes_sent() const { return bytes_sent_; }
  /// Time that this rank has spent in calls, waiting for others included.
  double seconds() const { return seconds_; }

 protected:
  virtual absl::Status DoAllReduceSum(at::Tensor& tensor) = 0;
  virtual absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) = 0;
  virtual absl::Status DoAllGather(const at::Tensor& input, at::Tensor& output) = 0;
  virtual absl::Status DoBroadcast(at::Tensor& tensor, int root) = 0;
  virtual absl::Status DoBarrier() = 0;
  virtual absl::Status DoRestingBarrier() { return DoBarrier(); }

 private:
  template <typename Call>
  absl::Status Traced(const char* name, double bytes, Call call);

  ActivityBoard* activity_ = nullptr;
  int64_t calls_ = 0;
  int64_t bytes_sent_ = 0;
  double seconds_ = 0;
};

/// A gang of one.
std::unique_ptr<Communicator> MakeSelfCommunicator();

/// All processes that mpirun started together; initialises MPI. INTERNAL if MPI cannot start.
absl::StatusOr<std::unique_ptr<Communicator>> MakeMpiCommunicator();

/// True in a process that mpirun started.
bool StartedByMpirun();

}  // namespace regroup
