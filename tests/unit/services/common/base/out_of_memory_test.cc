#include "services/common/base/out_of_memory.h"

#include <gtest/gtest.h>

#include <new>
#include <stdexcept>

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

TEST(OutOfMemory, IsNotEveryException) {
  const absl::Status status = StatusOfException(std::runtime_error("a matrix has no inverse"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_FALSE(IsOutOfMemory(status));
  EXPECT_FALSE(IsOutOfMemory(absl::ResourceExhaustedError("the disk is full")));
}

}  // namespace
}  // namespace regroup
