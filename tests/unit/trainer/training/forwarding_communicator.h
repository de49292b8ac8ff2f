// A communicator that passes everything on to another: what a test watches or spoils is one override.
#pragma once

#include <ATen/ATen.h>

#include "trainer/parallel/communicator.h"

namespace regroup {

/// The other must outlive it.
class ForwardingCommunicator : public Communicator {
 public:
  explicit ForwardingCommunicator(Communicator& real) : real_(real) {}
  int rank() const override { return real_.rank(); }
  int size() const override { return real_.size(); }

 protected:
  absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) override {
    return real_.ReduceScatterSum(input, output);
  }
  absl::Status DoAllReduceSum(at::Tensor& tensor) override { return real_.AllReduceSum(tensor); }
  absl::Status DoAllGather(const at::Tensor& input, at::Tensor& output) override {
    return real_.AllGather(input, output);
  }
  absl::Status DoBroadcast(at::Tensor& tensor, int root) override { return real_.Broadcast(tensor, root); }
  absl::Status DoBarrier() override { return real_.Barrier(); }

 private:
  Communicator& real_;
};

}  // namespace regroup
