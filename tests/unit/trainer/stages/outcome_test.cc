#include "trainer/stages/outcome.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <new>

#include "services/common/base/machine_errors.h"

namespace regroup {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

absl::Status StatusOf(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& error) {
    return StatusOfException(error);
  }
  return absl::OkStatus();
}

TEST(ExplainMemory, SaysWhatWasDoneAndWhichKeysMakeItSmaller) {
  const absl::Status of_libtorch = StatusOf([] { at::empty({int64_t{1} << 48}, at::kFloat); });
  EXPECT_TRUE(IsOutOfMemory(of_libtorch)) << of_libtorch;
  const v1::Failure failure = FailedOutcome(ExplainMemory(of_libtorch, v1::TASK_KIND_FINETUNE, "steps")).failure();
  EXPECT_EQ(failure.failure_class(), v1::FAILURE_CLASS_INFRA);
  EXPECT_THAT(failure.message(), AllOf(HasSubstr("finetune, steps: out of memory"), HasSubstr("1125899906842624 bytes"),
                                       HasSubstr("finetune.micro_batch_sequences"), Not(HasSubstr("defect"))));
}

TEST(ExplainMemory, KnowsTheErrorsOfGpusAndOfTheLanguage) {
  const absl::Status of_gpu = StatusOf([] {
    TORCH_CHECK_WITH(OutOfMemoryError, false, "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 1.00 GiB");
  });
  EXPECT_THAT(
      std::string(ExplainMemory(of_gpu, v1::TASK_KIND_CALIBRATE, "").message()),
      AllOf(HasSubstr("calibrate: out of memory"), HasSubstr("2.00 GiB"), HasSubstr("calibration.sequence_length")));
  const absl::Status of_language = StatusOf([] {
    volatile size_t most = std::numeric_limits<size_t>::max() / 4;
    // Not a new-expression, which the compiler may leave out.
    ::operator delete(::operator new(most));
  });
  EXPECT_TRUE(IsOutOfMemory(of_language)) << of_language;
  EXPECT_THAT(std::string(ExplainMemory(of_language, v1::TASK_KIND_EXPORT, "layers").message()),
              AllOf(HasSubstr("export, layers: out of memory"), HasSubstr("a worker with more memory")));
}

TEST(ExplainMemory, LeavesOtherErrorsAsTheyAre) {
  const absl::Status full = absl::ResourceExhaustedError("cannot write /x: No space left on device");
  EXPECT_EQ(ExplainMemory(full, v1::TASK_KIND_EXPORT, "layers"), full);
}

}  // namespace
}  // namespace regroup
