// Collectives over MPI on CPU memory. MPI does not support bfloat16, so it is transferred unchanged and summed as
// float32.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "services/common/base/status_macros.h"
#include "trainer/parallel/communicator.h"

namespace regroup {
namespace {

// MPI counts are int, so larger tensors are sent in pieces.
constexpr int64_t kLargestCount = int64_t{1} << 29;
constexpr int kTag = 1;
/// Time that a waiting side thread yields its core to the computing thread before it polls again.
constexpr std::chrono::microseconds kRest(50);

absl::Status ToStatus(int code, const char* operation) {
  if (code == MPI_SUCCESS) return absl::OkStatus();
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  return absl::UnavailableError(fmt::format("{}: {}", operation, std::string_view(text, length)));
}

absl::StatusOr<MPI_Datatype> TypeOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kLong:
      return MPI_INT64_T;
    case at::kInt:
      return MPI_INT32_T;
    default:
      return absl::InternalError(fmt::format("MPI cannot sum {}", c10::toString(tensor.scalar_type())));
  }
}

class MpiCommunicator final : public Communicator {
 public:
  MpiCommunicator() {
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiCommunicator() override { MPI_Finalize(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

 private:
  absl::Status DoAllReduceSum(at::Tensor& tensor) override {
    if (tensor.scalar_type() == at::kBFloat16) {
      at::Tensor wide = tensor.to(at::kFloat);
      REGROUP_RETURN_IF_ERROR(DoAllReduceSum(wide));
      tensor.copy_(wide);
      return absl::OkStatus();
    }
    REGROUP_ASSIGN_OR_RETURN(const MPI_Datatype type, TypeOf(tensor));
    char* data = static_cast<char*>(tensor.mutable_data_ptr());
    for (int64_t done = 0; done < tensor.numel(); done += kLargestCount) {
      const int count = static_cast<int>(std::min(kLargestCount, tensor.numel() - done));
      REGROUP_RETURN_IF_ERROR(ToStatus(
          MPI_Allreduce(MPI_IN_PLACE, data + done * tensor.element_size(), count, type, MPI_SUM, MPI_COMM_WORLD),
          "all_reduce"));
    }
    return absl::OkStatus();
  }

  /// Sends each slice once, directly to the rank that sums it, at least in float32; the order of summation depends only
  /// on the ranks. Open MPI's own implementation sends every whole buffer to rank 0 and the sums back.
  absl::Status DoReduceScatterSum(const at::Tensor& input, at::Tensor& output) override {
    const at::Tensor flat = input.flatten();
    const int64_t entries = output.numel();
    const auto slice_of = [&](int rank) { return flat.narrow(0, rank * entries, entries); };
    const at::ScalarType wide = input.scalar_type() == at::kBFloat16 ? at::kFloat : input.scalar_type();
    at::Tensor sum = slice_of(rank_).to(wide, /*non_blocking=*/false, /*copy=*/true);
    at::Tensor received = at::empty({entries}, input.options());
    for (int distance = 1; distance < size_; ++distance) {
      const int to = (rank_ + distance) % size_, from = (rank_ + size_ - distance) % size_;
      REGROUP_RETURN_IF_ERROR(Exchange(slice_of(to), to, received, from));
      sum += received;
    }
    output.copy_(sum.view(output.sizes()));
    return absl::OkStatus();
  }

  /// Sends one tensor and receives another of the same size.
  absl::Status Exchange(const at::Tensor& sent, int to, at::Tensor& received, int from) {
    const char* out = static_cast<const char*>(sent.const_data_ptr());
    char* in = static_cast<char*>(received.mutable_data_ptr());
    const auto bytes = static_cast<int64_t>(sent.nbytes());
    for (int64_t done = 0; done < bytes; done += kLargestCount) {
      const int count = static_cast<int>(std::min(kLargestCount, bytes - done));
      MPI_Request requests[2];
      REGROUP_RETURN_IF_ERROR(
          ToStatus(MPI_Irecv(in + done, count, MPI_BYTE, from, kTag, MPI_COMM_WORLD, &requests[0]), "reduce_scatter"));
      REGROUP_RETURN_IF_ERROR(
          ToStatus(MPI_Isend(out + done, count, MPI_BYTE, to, kTag, MPI_COMM_WORLD, &requests[1]), "reduce_scatter"));
      REGROUP_RETURN_IF_ERROR(Await(requests));
    }
    return absl::OkStatus();
  }

  absl::Status Await(MPI_Request (&requests)[2]) const {
    if (std::this_thread::get_id() == maker_) {
      return ToStatus(MPI_Waitall(2, requests, MPI_STATUSES_IGNORE), "reduce_scatter");
    }
    while (true) {
      int done = 0;
      REGROUP_RETURN_IF_ERROR(ToStatus(MPI_Testall(2, requests, &done, MPI_STATUSES_IGNORE), "reduce_scatter"));
      if (done != 0) return absl::OkStatus();
      std::this_thread::sleep_for(kRest);
    }
  }

  absl::Status DoAllGather(const at::Tensor& input, at::Tensor& output) override {
    // The rank's slice may already be in its position.
    const char* slice = static_cast<const char*>(output.const_data_ptr()) + rank_ * input.nbytes();
    const bool in_place = slice == input.const_data_ptr();
    if (input.nbytes() > static_cast<size_t>(4 * kLargestCount) - 4) {
      return absl::InternalError("all_gather: a shard is too large");
    }
    // Transfers 4-byte words if the size allows it, because counts are int.
    const bool words = input.nbytes() % 4 == 0;
    const int count = static_cast<int>(words ? input.nbytes() / 4 : input.nbytes());
    const MPI_Datatype type = words ? MPI_INT32_T : MPI_BYTE;
    return ToStatus(MPI_Allgather(in_place ? MPI_IN_PLACE : input.const_data_ptr(), count, type,
                                  output.mutable_data_ptr(), count, type, MPI_COMM_WORLD),
                    "all_gather");
  }

  absl::Status DoBroadcast(at::Tensor& tensor, int root) override {
    char* data = static_cast<char*>(tensor.mutable_data_ptr());
    for (int64_t done = 0; done < static_cast<int64_t>(tensor.nbytes()); done += kLargestCount) {
      const int count = static_cast<int>(std::min<int64_t>(kLargestCount, tensor.nbytes() - done));
      REGROUP_RETURN_IF_ERROR(ToStatus(MPI_Bcast(data + done, count, MPI_BYTE, root, MPI_COMM_WORLD), "broadcast"));
    }
    return absl::OkStatus();
  }

  absl::Status DoBarrier() override { return ToStatus(MPI_Barrier(MPI_COMM_WORLD), "barrier"); }

  absl::Status DoRestingBarrier() override {
    MPI_Request request = MPI_REQUEST_NULL;
    REGROUP_RETURN_IF_ERROR(ToStatus(MPI_Ibarrier(MPI_COMM_WORLD, &request), "barrier"));
    while (true) {
      int done = 0;
      REGROUP_RETURN_IF_ERROR(ToStatus(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "barrier"));
      if (done != 0) return absl::OkStatus();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }

  int rank_ = 0;
  int size_ = 1;
  const std::thread::id maker_ = std::this_thread::get_id();
};

}  // namespace

bool StartedByMpirun() { return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr; }

GangPlace PlaceInGang() {
  const char* const rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const char* const size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (rank == nullptr || size == nullptr) return {};
  return {.rank = std::atoi(rank), .size = std::atoi(size)};
}

absl::StatusOr<std::unique_ptr<Communicator>> MakeMpiCommunicator() {
  int provided = 0;
  REGROUP_RETURN_IF_ERROR(ToStatus(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init"));
  if (provided < MPI_THREAD_SERIALIZED)
    return absl::InternalError("this MPI does not allow calls from several threads");
  return std::make_unique<MpiCommunicator>();
}

}  // namespace regroup
