#include "services/common/base/machine_errors.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>
#include <string>

namespace regroup {
namespace {

TEST(OutOfMemory, IsRecognisedWithWhatWasAskedFor) {
  const auto message_of = [](const std::exception& error) {
    const absl::Status status = StatusOfException(error);
    EXPECT_TRUE(IsOutOfMemory(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(message_of(std::bad_alloc()), "out of memory");
  EXPECT_EQ(message_of(std::runtime_error("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate "
                                          "memory: you tried to allocate 123 bytes. Error code 12")),
            "out of memory: 123 bytes more were asked for");
  EXPECT_EQ(message_of(std::runtime_error("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has")),
            "out of memory: 2.50 GiB more were asked for");
  EXPECT_EQ(message_of(std::runtime_error("CUDA error: out of memory")), "out of memory");
}

TEST(StatusOfException, TellsAGpuThatFailedFromAMistake) {
  const auto status_of = [](const std::string& error) {
    return StatusOfException(std::runtime_error("CUDA error: " + error + "\nSearch for it in the manual.\n"));
  };
  EXPECT_EQ(status_of("uncorrectable ECC error encountered"),
            absl::UnavailableError("the GPU has failed: uncorrectable ECC error encountered; the kernel's log (dmesg, "
                                   "lines with Xid) says more"));
  EXPECT_EQ(status_of("unspecified launch failure").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status_of("an illegal memory access was encountered").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status_of("device-side assert triggered").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status_of("CUBLAS_STATUS_INVALID_VALUE when calling `cublasGemmEx`").code(), absl::StatusCode::kInternal);
  EXPECT_EQ(status_of("no kernel image is available for execution on the device").code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(OutOfMemory, IsNotEveryException) {
  const absl::Status status = StatusOfException(std::runtime_error("a matrix has no inverse"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(IsOutOfMemory(status));
  EXPECT_FALSE(IsOutOfMemory(absl::ResourceExhaustedError("the disk is full")));
}

}  // namespace
}  // namespace regroup
