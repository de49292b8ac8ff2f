#include "trainer/event_files/event_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"
#include "tests/unit/trainer/event_files/read_events.h"

namespace regroup {
namespace {

TEST(FrameRecordTest, PutsLengthAndMaskedChecksumsAroundTheContent) {
  // The checksums are those of TensorBoard's masked_crc32c.
  const std::string expected("\x05\0\0\0\0\0\0\0\xea\xb2\x04\x3ehello\xbb\x1f\x1c\x19", 21);
  EXPECT_EQ(FrameRecord("hello"), expected);
}

TEST(EventFileTest, BeginsWithTheVersionAndGrowsByEvents) {
  const TemporaryFolder folder;
  const std::filesystem::path path = folder.path() / "made" / "too" / "events";
  auto file = EventFile::Create(path);
  ASSERT_TRUE(file.ok()) << file.status();
  tensorboard::Event event;
  event.set_step(7);
  ASSERT_TRUE(file->Append(event).ok());
  const auto events = ReadEvents(path);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[1].step(), 7);
}

TEST(EventFileTest, SaysThatTheDiskIsFull) {
  const auto file = EventFile::Create("/dev/full");
  EXPECT_EQ(file.status().code(), absl::StatusCode::kResourceExhausted) << file.status();
  EXPECT_THAT(std::string(file.status().message()), testing::HasSubstr("/dev/full"));
}

}  // namespace
}  // namespace regroup
