// Sums and copies tensors over the ranks of a gang. There are three kinds: self (one process), MPI (CPU), NCCL (GPU).
//
// One thread at a time may call a communicator (see side_lane.h for collectives that overlap computation). Tensors are
// contiguous and on the communicator's device. Every rank must make the same calls in the same order. A failed call
// leaves the gang unusable: the process should exit.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

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

  /// tensor = sum of all ranks' tensors, with equal bits on every rank.
  absl::Status AllReduceSum(at::Tensor& tensor);
  /// output = this rank's slice of the sum of input; input has size() times as many entries as output.
  absl::Status ReduceScatterSum(const at::Tensor& input, at::Tensor& output);
  /// output = the inputs of all ranks in rank order.
  absl::Status AllGather(const at::Tensor& input, at::Tensor& output);
  /// tensor = tensor of rank `root`.
  absl::Status Broadcast(at::Tensor& tensor, int root);
  absl::Status Barrier();
  /// Barrier for a long wait: on the CPU, waiting ranks yield their core to the others.
  absl::Status RestingBarrier();

  /// Returns a lane for calls that overlap computation. On the CPU, calls from a thread other than the one that created
  /// the communicator yield their core while they wait. The communicator must outlive the lane.
  virtual std::unique_ptr<SideLane> MakeSideLane() { return MakeThreadLane(); }

  /// Sets where running collectives are recorded; may be null. Not owned.
  void set_activity(ActivityBoard* activity) { activity_ = activity; }
  /// Bytes that this rank has sent, by the ring model: 2 (n-1)/n for a sum, (n-1)/n for the other two.
  int64_t bytes_sent() const { return bytes_sent_; }
  /// Seconds that this rank has spent in calls, including waiting for other ranks; on a GPU, seconds that its computing
  /// stream has spent in them or waited for those of a side lane, counted when they are over.
  virtual double seconds() const { return seconds_; }

 protected:
  virtual absl::Status DoAllReduceSum(at::Tensor& tensor) = 0;
  virtual absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) = 0;
  virtual absl::Status DoAllGather(const at::Tensor& input, at::Tensor& output) = 0;
  virtual absl::Status DoBroadcast(at::Tensor& tensor, int root) = 0;
  virtual absl::Status DoBarrier() = 0;
  virtual absl::Status DoRestingBarrier() { return DoBarrier(); }

  /// Returns the number of the call that runs, from 0.
  int64_t call_number() const { return calls_ - 1; }
  /// Shows which collective the GPU is in; empty if in none. Any thread.
  void ShowGpuCollective(const std::string& name) {
    if (activity_ != nullptr) activity_->SetGpuCollective(name);
  }

 private:
  template <typename Call>
  absl::Status Traced(const char* name, double bytes, Call call);

  ActivityBoard* activity_ = nullptr;
  int64_t calls_ = 0;
  int64_t bytes_sent_ = 0;
  double seconds_ = 0;
};

/// Returns a communicator for a gang of one.
std::unique_ptr<Communicator> MakeSelfCommunicator();

/// Returns a communicator of all processes that mpirun started together; initialises MPI. INTERNAL if MPI cannot start.
absl::StatusOr<std::unique_ptr<Communicator>> MakeMpiCommunicator();

/// Returns true in a process that mpirun started.
bool StartedByMpirun();

/// A process's place among those that mpirun started together.
struct GangPlace {
  int rank = 0;
  int size = 1;
};

/// Returns the place that mpirun gave this process, before it has joined the others.
GangPlace PlaceInGang();

}  // namespace regroup
