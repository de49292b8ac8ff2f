#include "services/cli/local_slots.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace regroup {
namespace {

using testing::HasSubstr;

v1::JobSpec Job(int ranks, const std::string& device = "auto") {
  v1::JobSpec job;
  job.mutable_calibration()->set_ranks(1);
  job.mutable_evaluation()->set_ranks(1);
  job.mutable_finetune()->set_ranks(ranks);
  job.mutable_resources()->set_device(device);
  return job;
}

std::string Refusal(const LocalWorkers& asked, const v1::JobSpec& job, const LocalHardware& hardware) {
  const auto slots = SlotsFor(asked, job, hardware);
  EXPECT_FALSE(slots.ok());
  return std::string(slots.status().message());
}

TEST(LocalSlotsTest, OnCpusAreAsManyAsTheGangNeedsAndTwoWhereThereAreTwoCores) {
  EXPECT_EQ(SlotsFor({.slots = 0}, Job(1), {.cores = 1}).value(), 1);
  EXPECT_EQ(SlotsFor({.slots = 0}, Job(1), {.cores = 16}).value(), 2);
  EXPECT_EQ(SlotsFor({.slots = 0}, Job(4), {.cores = 2}).value(), 4);
  EXPECT_EQ(SlotsFor({.slots = 3}, Job(2), {.cores = 2}).value(), 3);
  EXPECT_THAT(Refusal({.slots = 1}, Job(2), {.cores = 2}),
              HasSubstr("2 ranks together, but --slots 1 leaves a worker only 1"));
}

TEST(LocalSlotsTest, OnGpusIsOneForEach) {
  EXPECT_EQ(SlotsFor({.slots = 0}, Job(1), {.cores = 16, .gpus = 1}).value(), 1);
  EXPECT_EQ(SlotsFor({.slots = 0}, Job(2), {.cores = 16, .gpus = 8}).value(), 8);
  EXPECT_EQ(SlotsFor({.slots = 2}, Job(2, "cuda"), {.cores = 16, .gpus = 8}).value(), 2);
}

TEST(LocalSlotsTest, RanksDoNotShareAGpu) {
  EXPECT_THAT(Refusal({.slots = 0}, Job(2), {.cores = 16, .gpus = 1}),
              HasSubstr("2 ranks together, but this process may use 1 GPU,"));
  EXPECT_THAT(Refusal({.slots = 4}, Job(1, "cuda"), {.cores = 16, .gpus = 2}),
              HasSubstr("--slots is 4, but this process may use 2 GPUs,"));
}

TEST(LocalSlotsTest, WorkersDoNotShareGpus) {
  EXPECT_THAT(Refusal({.workers = 2}, Job(1), {.cores = 16, .gpus = 2}),
              HasSubstr("--workers: the workers would share"));
  EXPECT_TRUE(SlotsFor({.workers = 2}, Job(1), {.cores = 2}).ok());
}

TEST(LocalSlotsTest, AJobForTheCpuIgnoresGpus) {
  EXPECT_FALSE(UsesGpus(Job(1, "cpu"), {.gpus = 8}));
  EXPECT_TRUE(UsesGpus(Job(1), {.gpus = 8}));
  EXPECT_FALSE(UsesGpus(Job(1, "cuda"), {.gpus = 0})) << "the worker says that it has none";
  EXPECT_EQ(SlotsFor({.slots = 0}, Job(4, "cpu"), {.cores = 2, .gpus = 1}).value(), 4);
}

}  // namespace
}  // namespace regroup
