#include "trainer/parallel/communicator.h"

#include <fmt/format.h>

#include <chrono>

namespace regroup {

template <typename Call>
absl::Status Communicator::Traced(const char* name, double bytes, Call call) {
  if (activity_ != nullptr) activity_->SetCollective(fmt::format("{} #{}", name, calls_));
  ++calls_;
  const auto start = std::chrono::steady_clock::now();
  absl::Status status = call();
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  bytes_sent_ += static_cast<int64_t>(bytes * (size() - 1) / size());
  if (activity_ != nullptr) activity_->SetCollective("");
  return status;
}

absl::Status Communicator::AllReduceSum(at::Tensor& tensor) {
  return Traced("all_reduce", 2.0 * tensor.nbytes(), [&] { return DoAllReduceSum(tensor); });
}

absl::Status Communicator::ReduceScatterSum(const at::Tensor& input, at::Tensor& output) {
  return Traced("reduce_scatter", input.nbytes(), [&] { return DoReduceScatterSum(input, output); });
}

absl::Status Communicator::AllGather(const at::Tensor& input, at::Tensor& output) {
  return Traced("all_gather", output.nbytes(), [&] { return DoAllGather(input, output); });
}

absl::Status Communicator::Broadcast(at::Tensor& tensor, int root) {
  return Traced("broadcast", tensor.nbytes(), [&] { return DoBroadcast(tensor, root); });
}

absl::Status Communicator::Barrier() {
  return Traced("barrier", 0, [&] { return DoBarrier(); });
}

absl::Status Communicator::RestingBarrier() {
  return Traced("resting barrier", 0, [&] { return DoRestingBarrier(); });
}

namespace {

class SelfCommunicator final : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }

 private:
  absl::Status DoAllReduceSum(at::Tensor&) override { return absl::OkStatus(); }
  absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) override {
    output.copy_(input.view_as(output));
    return absl::OkStatus();
  }
  absl::Status DoAllGather(const at::Tensor& input, at::Tensor& output) override {
    if (!output.is_alias_of(input)) output.copy_(input.view_as(output));
    return absl::OkStatus();
  }
  absl::Status DoBroadcast(at::Tensor&, int) override { return absl::OkStatus(); }
  absl::Status DoBarrier() override { return absl::OkStatus(); }
};

}  // namespace

std::unique_ptr<Communicator> MakeSelfCommunicator() { return std::make_unique<SelfCommunicator>(); }

}  // namespace regroup
