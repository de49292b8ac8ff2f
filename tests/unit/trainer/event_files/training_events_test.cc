#include "trainer/event_files/training_events.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/event_files/read_events.h"

namespace regroup {
namespace {

using testing::ElementsAre;

class TrainingEventsTest : public testing::Test {
 protected:
  EventFileSettings Settings(int64_t epoch, int64_t steps = 100) const {
    return {.folder = folder_.path() / "events" / "finetune", .epoch = epoch, .steps = steps};
  }
  /// Returns the events of an attempt in one line each: "start 1", "3 loss".
  std::vector<std::string> Lines(int64_t epoch) const {
    std::vector<std::string> lines;
    for (const tensorboard::Event& event : ReadEvents(EventFilePath(Settings(epoch)))) {
      if (event.has_session_log()) lines.push_back("start " + std::to_string(event.step()));
      for (const auto& value : event.summary().value()) {
        lines.push_back(std::to_string(event.step()) + " " + value.tag());
      }
    }
    return lines;
  }

  const TemporaryFolder folder_;
};

TEST_F(TrainingEventsTest, NamesFilesSoThatLaterAttemptsComeLater) {
  EXPECT_TRUE(EventFilePath(Settings(1)).filename().string().starts_with("events.out.tfevents."));
  EXPECT_LT(EventFilePath(Settings(2)), EventFilePath(Settings(10)));
}

TEST_F(TrainingEventsTest, SaysWhereTrainingGoesOnBeforeTheFirstValues) {
  TrainingEvents first(Settings(1));
  first.AddValues(1, {{"loss", 4.0}, {"learning_rate", 0.1}});
  first.AddValues(2, {{"loss", 3.0}});
  TrainingEvents second(Settings(2));
  second.ContinueAfter(0);
  second.ContinueAfter(1);
  second.AddValues(2, {{"loss", 3.5}});
  second.ContinueAfter(1);
  second.AddValues(2, {{"loss", 3.5}});
  EXPECT_THAT(Lines(1), ElementsAre("start 1", "1 loss", "1 learning_rate", "2 loss"));
  EXPECT_THAT(Lines(2), ElementsAre("start 2", "2 loss", "start 2", "2 loss"));
  EXPECT_FLOAT_EQ(ReadEvents(EventFilePath(Settings(1)))[2].summary().value(0).simple_value(), 4);
}

TEST_F(TrainingEventsTest, WritesHistograms) {
  TrainingEvents events(Settings(1));
  events.AddHistogram(5, "gates", std::vector{0.0, 1.0, 1.0});
  const auto written = ReadEvents(EventFilePath(Settings(1)));
  ASSERT_EQ(written.size(), 3u);
  EXPECT_EQ(written[2].summary().value(0).histo().num(), 3);
  EXPECT_GT(written[2].wall_time(), 1.7e9);
}

TEST_F(TrainingEventsTest, ThinsLongSeriesAndKeepsRareOnes) {
  const int64_t steps = 100'000;
  TrainingEvents events(Settings(1, steps));
  for (int64_t step = 1; step <= steps; ++step) {
    events.AddValues(step, {{"loss", 1.0}});
    if (step % 777 == 0) events.AddValues(step, {{"validation_perplexity", 1.0}});
  }
  int64_t losses = 0, measurements = 0;
  for (const tensorboard::Event& event : ReadEvents(EventFilePath(Settings(1)))) {
    for (const auto& value : event.summary().value()) ++(value.tag() == "loss" ? losses : measurements);
  }
  EXPECT_EQ(losses, 10'000);
  EXPECT_EQ(measurements, steps / 777);
  EXPECT_LT(std::filesystem::file_size(EventFilePath(Settings(1))), 1'000'000u);
}

TEST_F(TrainingEventsTest, GivesUpOnceWhereNothingCanBeWritten) {
  std::ofstream(folder_.path() / "events") << "a file where the folder should be";
  TrainingEvents events(Settings(1));
  testing::internal::CaptureStdout();
  for (int64_t step = 1; step <= 3; ++step) events.AddValues(step, {{"loss", 1.0}});
  const std::string logged = testing::internal::GetCapturedStdout();
  const std::string warning = "no more TensorBoard events";
  ASSERT_NE(logged.find(warning), std::string::npos) << logged;
  EXPECT_EQ(logged.find(warning), logged.rfind(warning)) << logged;
}

TEST_F(TrainingEventsTest, GivesUpOnceOnAFullDisk) {
  std::filesystem::create_directories(Settings(1).folder);
  std::filesystem::create_symlink("/dev/full", EventFilePath(Settings(1)));
  TrainingEvents events(Settings(1));
  testing::internal::CaptureStdout();
  for (int64_t step = 1; step <= 3; ++step) events.AddValues(step, {{"loss", 1.0}});
  const std::string logged = testing::internal::GetCapturedStdout();
  const std::string warning = "no more TensorBoard events";
  ASSERT_NE(logged.find(warning), std::string::npos) << logged;
  EXPECT_EQ(logged.find(warning), logged.rfind(warning)) << logged;
}

}  // namespace
}  // namespace regroup
