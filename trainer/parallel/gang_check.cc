#include "trainer/parallel/gang_check.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <chrono>

#include "services/common/base/status_macros.h"

namespace regroup {
namespace {

constexpr int64_t kSummedBytes = int64_t{64} << 20;
constexpr int64_t kMatrixWidth = 256;

/// Returns the numbers 0 to 6, again and again.
at::Tensor SmallNumbers(int64_t count) { return at::arange(count, at::kLong).remainder(7).to(at::kFloat); }

}  // namespace

absl::Status CheckProduct(at::Device device) {
  const at::Tensor matrix = SmallNumbers(kMatrixWidth * kMatrixWidth).view({kMatrixWidth, kMatrixWidth});
  const at::Tensor expected = matrix.to(at::kDouble).matmul(matrix.to(at::kDouble));
  const at::Tensor moved = matrix.to(device);
  if (at::equal(moved.matmul(moved).cpu().to(at::kDouble), expected)) return absl::OkStatus();
  return absl::UnavailableError(fmt::format("device {} computes a wrong product of two matrices", device.str()));
}

absl::StatusOr<GangCheck> CheckSum(Communicator& communicator, at::Device device) {
  const int64_t ranks = communicator.size();
  const at::Tensor numbers = SmallNumbers(kSummedBytes / static_cast<int64_t>(sizeof(float))).to(device);
  const at::Tensor expected = numbers * ranks + ranks * (ranks - 1) / 2;
  at::Tensor sum = at::empty_like(numbers);
  GangCheck check{.bytes = kSummedBytes};
  for (int turn = 0; turn < 2; ++turn) {
    at::add_out(sum, numbers, communicator.rank());
    REGROUP_RETURN_IF_ERROR(communicator.RestingBarrier());
    const auto start = std::chrono::steady_clock::now();
    REGROUP_RETURN_IF_ERROR(communicator.AllReduceSum(sum));
    // A GPU is still at work until the host reads what it wrote.
    sum[0].item<float>();
    check.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (at::equal(sum, expected)) continue;
    return absl::UnavailableError(fmt::format("rank {} gets a wrong sum over {} ranks", communicator.rank(), ranks));
  }
  const double sent = 2.0 * kSummedBytes * static_cast<double>(ranks - 1) / static_cast<double>(ranks);
  check.bytes_per_second = sent / check.seconds;
  return check;
}

}  // namespace regroup
