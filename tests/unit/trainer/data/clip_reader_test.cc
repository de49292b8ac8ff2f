#include "trainer/data/audio/clip_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "tests/unit/trainer/checkpoint/temporary_folder.h"

namespace regroup {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

template <typename Value>
std::string BytesOf(const std::vector<Value>& values) {
  std::string bytes(values.size() * sizeof(Value), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <typename Value>
std::string BytesOf(Value value) {
  return BytesOf(std::vector<Value>{value});
}

struct WavFormat {
  uint16_t code = 1;
  uint16_t channels = 1;
  uint32_t rate = 16000;
  uint16_t bits = 16;
};

/// Returns a WAV file with these samples.
std::string Wav(const std::string& samples, const WavFormat& format = {}) {
  const auto frame = static_cast<uint16_t>(format.channels * format.bits / 8);
  const std::string description = BytesOf(format.code) + BytesOf(format.channels) + BytesOf(format.rate) +
                                  BytesOf(format.rate * frame) + BytesOf(frame) + BytesOf(format.bits);
  const std::string chunks = "WAVEfmt " + BytesOf(static_cast<uint32_t>(description.size())) + description + "data" +
                             BytesOf(static_cast<uint32_t>(samples.size())) + samples;
  return "RIFF" + BytesOf(static_cast<uint32_t>(chunks.size())) + chunks;
}

std::string Integers(const std::vector<int16_t>& samples) { return BytesOf(samples); }

std::string RefusalOf(const std::string& file, int64_t most_samples = 4) {
  const auto clip = DecodeClip(file, "x.wav", most_samples);
  EXPECT_EQ(clip.status().code(), absl::StatusCode::kInvalidArgument) << clip.status();
  return std::string(clip.status().message());
}

TEST(ClipReaderTest, ReadsIntegersAsFractionsOfTheLargest) {
  const auto clip = DecodeClip(Wav(Integers({0, 16384, -32768})), "x.wav", 3);
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_THAT(*clip, ElementsAre(0.0F, 0.5F, -1.0F));
}

TEST(ClipReaderTest, ReadsFloatingPointSamplesAsTheyAre) {
  const auto clip = DecodeClip(Wav(BytesOf(std::vector<float>{0.25F, -1.5F}), {.code = 3, .bits = 32}), "x.wav", 2);
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_THAT(*clip, ElementsAre(0.25F, -1.5F));
}

TEST(ClipReaderTest, RefusesOtherRatesAndChannelsByFileAndNumber) {
  const std::string samples = Integers({1, 2, 3, 4});
  EXPECT_EQ(RefusalOf(Wav(samples, {.rate = 44100})),
            "x.wav: has 44100 samples a second, but the model reads 16000; convert the file");
  EXPECT_EQ(RefusalOf(Wav(samples, {.channels = 2})), "x.wav: has 2 channels, but a clip has one; mix them");
}

TEST(ClipReaderTest, RefusesClipsThatAreTooLongOrEmpty) {
  EXPECT_EQ(RefusalOf(Wav(std::string(2 * 16000, '\0')), 8000),
            "x.wav: lasts 1.00 s, but a clip at most 0.50 s; cut the file");
  EXPECT_EQ(RefusalOf(Wav("")), "x.wav: has no samples");
}

TEST(ClipReaderTest, RefusesWhatIsNoPlainWav) {
  EXPECT_EQ(RefusalOf("fLaC and so on"), "x.wav: is not a WAV file");
  EXPECT_EQ(RefusalOf("RIFF"), "x.wav: is not a WAV file");
  EXPECT_THAT(RefusalOf(Wav(Integers({1, 2})).substr(0, 30)), HasSubstr("x.wav: is damaged"));
  // A-law.
  EXPECT_EQ(RefusalOf(Wav("ab", {.code = 6, .bits = 8})),
            "x.wav: must be a WAV file whose samples are integers or floating-point numbers");
}

TEST(ClipReaderTest, RefusesSamplesThatAreNotFinite) {
  const std::vector<float> samples{0.0F, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_EQ(RefusalOf(Wav(BytesOf(samples), {.code = 3, .bits = 32})),
            "x.wav: has samples that are not finite numbers");
}

TEST(ClipReaderTest, OpensAFileByTheRulesOfInputs) {
  TemporaryFolder folder;
  const auto clip = ReadClip(folder.Write("a.wav", Wav(Integers({16384}))), 1);
  ASSERT_TRUE(clip.ok()) << clip.status();
  EXPECT_THAT(*clip, ElementsAre(0.5F));
  EXPECT_EQ(ReadClip(folder.path() / "none.wav", 1).status().code(), absl::StatusCode::kNotFound);
  const auto large = ReadClip(folder.Write("large.wav", std::string(kMostClipBytes + 1, '\0')), 1);
  EXPECT_EQ(large.status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace regroup
