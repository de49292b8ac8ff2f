#include "trainer/training/checkpoint_manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace regroup {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json TwoRanks() {
  return {{"format", 3},
          {"step", 200},
          {"ranks", 2},
          {"files",
           {{{"name", "rank-00000-of-00002.safetensors"}, {"bytes", 80}, {"sha256", "aa"}},
            {{"name", "rank-00001-of-00002.safetensors"}, {"bytes", 90}, {"sha256", "bb"}}}}};
}

std::string ErrorOf(const json& manifest) {
  const auto parsed = ParseCheckpointManifest(manifest.dump());
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kDataLoss) << manifest;
  return std::string(parsed.status().message());
}

TEST(CheckpointManifest, ReadsWhatItWrites) {
  const CheckpointManifest manifest{.step = 7, .files = {{RankFileName(0, 1), 1234, "abc"}}};
  const auto again = ParseCheckpointManifest(FormatCheckpointManifest(manifest));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, manifest);
}

TEST(CheckpointManifest, HoldsTheFilesInOrderOfRank) {
  const auto manifest = ParseCheckpointManifest(TwoRanks().dump());
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->step, 200);
  ASSERT_EQ(manifest->files.size(), 2U);
  EXPECT_EQ(manifest->files[1], (CheckpointManifest::File{"rank-00001-of-00002.safetensors", 90, "bb"}));
}

TEST(CheckpointManifest, RefusesNumbersThatAreNoNumbers) {
  for (const char* key : {"format", "step", "ranks"}) {
    for (const json& value : {json("1"), json(1.5), json(1e300), json(), json::array(), json(-1)}) {
      json manifest = TwoRanks();
      manifest[key] = value;
      ErrorOf(manifest);
    }
  }
}

TEST(CheckpointManifest, RefusesFilesThatAreNotObjects) {
  json manifest = TwoRanks();
  manifest["files"] = {"a", 3};
  EXPECT_THAT(ErrorOf(manifest), HasSubstr("is not an object"));
}

TEST(CheckpointManifest, RefusesAFileOutsideOfItsFolder) {
  json manifest = TwoRanks();
  manifest["files"][1]["name"] = "../../etc/passwd";
  EXPECT_THAT(ErrorOf(manifest), HasSubstr("is not named rank-00001-of-00002.safetensors"));
}

TEST(CheckpointManifest, RefusesMoreRanksThanFiles) {
  json manifest = TwoRanks();
  manifest["ranks"] = int64_t{1} << 40;
  EXPECT_THAT(ErrorOf(manifest), HasSubstr("file and rank counts differ"));
}

TEST(CheckpointManifest, RefusesTextThatIsNotJson) {
  EXPECT_EQ(ParseCheckpointManifest("{\"format\": 1, \"fi").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseCheckpointManifest(std::string(1 << 20, '[')).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace regroup
