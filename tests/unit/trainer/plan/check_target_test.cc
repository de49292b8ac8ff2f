#include "trainer/plan/check_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace regroup {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ModelConfig Source(int64_t heads, std::vector<int64_t> kv_heads) {
  ModelConfig config;
  config.layers = static_cast<int64_t>(kv_heads.size());
  config.heads = heads;
  config.kv_heads = *std::max_element(kv_heads.begin(), kv_heads.end());
  if (*std::min_element(kv_heads.begin(), kv_heads.end()) != config.kv_heads) config.kv_heads_of_layers = kv_heads;
  return config;
}

v1::JobSpec Job(int32_t kv_heads, const std::string& per_layer = "none") {
  v1::JobSpec job;
  job.mutable_target()->set_kv_heads(kv_heads);
  job.mutable_target()->set_per_layer(per_layer);
  return job;
}

TEST(CheckTargetTest, TakesWhatDividesTheQueryHeads) {
  const ModelConfig phi4 = Source(40, {10, 10});
  EXPECT_THAT(PossibleKvHeads(phi4), ElementsAre(10, 8, 5, 4, 2, 1));
  EXPECT_TRUE(CheckTarget(Job(8), phi4).ok());
  EXPECT_THAT(std::string(CheckTarget(Job(3), phi4).message()), HasSubstr("write one of 10, 8, 5, 4, 2, 1"));
  EXPECT_THAT(std::string(CheckTarget(Job(20), phi4).message()), HasSubstr("is more than the source's 10 KV heads"));
  EXPECT_THAT(NoteOnSplitHeads(Job(8), phi4), HasSubstr("for 8, each is split into 4 copies"));
  EXPECT_EQ(NoteOnSplitHeads(Job(5), phi4), "");
}

TEST(CheckTargetTest, LayersWithUnequalNumbersShareOutWholeHeads) {
  const ModelConfig phi4 = Source(40, {10, 10});
  EXPECT_TRUE(CheckTarget(Job(5, "auto"), phi4).ok());
  EXPECT_THAT(std::string(CheckTarget(Job(8, "auto"), phi4).message()),
              HasSubstr("8 does not divide the source's 10 KV heads; write one of 10, 5, 2, 1"));
}

TEST(CheckTargetTest, ASourceWithUnequalLayersTakesWhatDividesAllOfThem) {
  const ModelConfig uneven = Source(12, {4, 12, 2});
  EXPECT_THAT(PossibleKvHeads(uneven), ElementsAre(2, 1));
  EXPECT_TRUE(CheckTarget(Job(2), uneven).ok());
  EXPECT_THAT(std::string(CheckTarget(Job(3), uneven).message()),
              HasSubstr("3 does not divide the source's 2 to 12 KV heads; write one of 2, 1"));
  EXPECT_EQ(NoteOnSplitHeads(Job(1), uneven), "");
}

}  // namespace
}  // namespace regroup
