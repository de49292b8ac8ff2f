// Tests the stage record, the pointer to its streams, and the room that it makes for them.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <set>
#include <string>

#include "tests/unit/trainer/stages/layerwise_fixture.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_streams.h"

namespace regroup {
namespace {

using testing::HasSubstr;

class RecordTest : public LayerwiseFixture {};

TEST_F(RecordTest, WritesTheSourcesStreamsBeforeEveryBlock) {
  Record();
  EXPECT_EQ(NamesIn(AttemptOf("record", 1)), std::set<std::string>{"out"});
  const json pointer = PointerOf("record");
  EXPECT_EQ(pointer["windows"], kWindows);
  EXPECT_EQ(pointer["ranks"], 1);
  EXPECT_EQ(NamesIn(StreamsOf("record")),
            (std::set<std::string>{"SHA256SUMS", "layer-000-part-0-of-1", "layer-002-part-0-of-1"}));

  const SourceModel source = *SourceModel::Open(source_folder());
  StageContext context = ContextOf("record", 1);
  const TokenWindows text = *ReadLayerwiseText(context, source);
  const Model model = *source.Load(at::kFloat, at::kCPU);
  const WindowRunner runner(model, kLength, at::kCPU);
  for (const int64_t layer : {0, 2}) {
    const auto streams = ResidualStreams::Open({StreamsOf("record") / StreamFile(layer, 0, 1)},
                                               {.windows = kWindows, .tokens = kLength, .hidden_size = 10});
    ASSERT_TRUE(streams.ok()) << streams.status();
    for (const int64_t window : {0, 17, 35}) {
      at::Tensor tokens = at::empty({1, kLength}, at::kLong);
      text.Copy(window, tokens.mutable_data_ptr<int64_t>());
      at::Tensor expected = runner.Start(tokens);
      for (int64_t earlier = 0; earlier < layer; ++earlier) {
        expected = runner.Advance(expected, model.blocks[earlier], earlier);
      }
      const at::Tensor ours = *streams->Read({window}, at::kFloat, at::kCPU);
      EXPECT_LT((ours - expected).norm().item<double>(), 1e-2 * expected.norm().item<double>()) << layer;
    }
  }
}

TEST_F(RecordTest, JobsWithTheSameTextAndBordersShareTheStreams) {
  Record();
  const fs::path file = StreamsOf("record") / StreamFile(2, 0, 1);
  const fs::file_time_type written = fs::last_write_time(file);
  const auto long_ago = written - std::chrono::hours(1);
  fs::last_write_time(StreamsOf("record"), long_ago);
  Record("record-of-another-job");
  EXPECT_EQ(PointerOf("record-of-another-job"), PointerOf("record"));
  EXPECT_EQ(fs::last_write_time(file), written);
  // Its use keeps the folder from being removed first.
  EXPECT_GT(fs::last_write_time(StreamsOf("record")), long_ago);

  layerwise().set_layers_per_task(1);
  Record("other-borders");
  EXPECT_NE(PointerOf("other-borders"), PointerOf("record"));
  assignment_.mutable_model()->set_digest("another");
  Record("other-source");
  EXPECT_NE(PointerOf("other-source"), PointerOf("other-borders"));
}

TEST_F(RecordTest, ADamagedPointerIsDataLossThatNamesTheFile) {
  Record();
  const fs::path pointer = AttemptOf("record", 1) / "out" / artifacts::kStreamsPointer;
  for (const char* content : {"", "[]", R"({"folder": "streams/a", "sha256": "", "windows": 36})",
                              R"({"folder": 3, "sha256": "", "windows": 36, "ranks": 1})",
                              R"({"folder": "streams/a", "windows": 36, "ranks": 1})",
                              R"({"folder": "streams/a", "sha256": "", "windows": "36", "ranks": 1})",
                              R"({"folder": "streams/a", "sha256": "", "windows": 36, "ranks": null})"}) {
    std::ofstream(pointer) << content;
    const auto read = ReadStreamsPointer(ContextOf("layerwise-0", 1));
    EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << content;
    EXPECT_THAT(std::string(read.status().message()), HasSubstr(pointer.string())) << content;
  }
}

class MakeRoomForStreamsTest : public testing::Test {
 protected:
  /// Writes folders of 1,000 bytes, in two files each, the first of which was used last.
  MakeRoomForStreamsTest() {
    for (int i = 0; i < 4; ++i) {
      const fs::path folder = folder_.path() / std::string(1, static_cast<char>('a' + i));
      fs::create_directories(folder);
      std::ofstream(folder / "one") << std::string(400, 'x');
      std::ofstream(folder / "two") << std::string(600, 'x');
      fs::last_write_time(folder, fs::file_time_type::clock::now() - std::chrono::hours(i + 1));
    }
  }
  /// Returns the names of what is left.
  std::string LeftOver(int64_t needed, int64_t limit) {
    MakeRoomForStreams(folder_.path(), needed, limit);
    std::string left;
    for (const char name : {'a', 'b', 'c', 'd'}) {
      if (fs::exists(folder_.path() / std::string(1, name))) left += name;
    }
    return left;
  }

  TemporaryFolder folder_;
};

TEST_F(MakeRoomForStreamsTest, RemovesNothingWhileThereIsRoom) {
  EXPECT_EQ(LeftOver(1000, 5000), "abcd");
  MakeRoomForStreams(folder_.path(), int64_t{1} << 30);
  EXPECT_EQ(LeftOver(0, 4000), "abcd");
}

TEST_F(MakeRoomForStreamsTest, RemovesThoseThatWereNotUsedForTheLongestTimeAndNoMoreThanNecessary) {
  EXPECT_EQ(LeftOver(1001, 5000), "abc");
  EXPECT_EQ(LeftOver(3500, 5000), "a");
}

TEST_F(MakeRoomForStreamsTest, RemovesAllWhereTheNeedAloneIsTooLarge) { EXPECT_EQ(LeftOver(6000, 5000), ""); }

TEST_F(MakeRoomForStreamsTest, AFolderThatDoesNotExistYetHasRoom) {
  MakeRoomForStreams(folder_.path() / "none", 6000, 5000);
  EXPECT_FALSE(fs::exists(folder_.path() / "none"));
}

}  // namespace
}  // namespace regroup
