// Tests that stages use what inspect read, and what earlier stages wrote, and nothing else.
#include "trainer/stages/job_source.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "services/common/base/files.h"
#include "services/common/job_file/resolve_job_spec.h"
#include "tests/unit/trainer/stages/stage_fixture.h"
#include "trainer/stages/artifacts.h"
#include "trainer/stages/job_text.h"

namespace regroup {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// Returns a tokenizer of three letters and an end token.
std::string TokenizerOf(std::string_view letters) {
  std::string vocabulary;
  for (size_t i = 0; i < letters.size(); ++i)
    vocabulary += "\"" + std::string(1, letters[i]) + "\": " + std::to_string(i) + ", ";
  return R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "vocab": {)" +
         vocabulary + R"("</s>": 3}, "merges": []}})";
}

class JobSourceTest : public StageFixture {
 protected:
  JobSourceTest() {
    TinyLlama{}.Write(source_folder());
    WriteTokenizer("abc");
    WriteText(40);
    v1::JobSpec& spec = *assignment_.mutable_spec();
    spec.mutable_target()->set_kv_heads(2);
    spec.mutable_calibration()->set_data(text().string());
    spec.mutable_calibration()->set_sequence_length(8);
    spec.mutable_calibration()->set_sequences(4);
    spec.mutable_finetune()->set_method("none");
    spec = ResolveJobSpec(spec);
  }

  fs::path text() const { return work() / "text.jsonl"; }
  void WriteText(int lines) const {
    std::ofstream stream(text());
    for (int i = 0; i < lines; ++i) stream << "{\"text\": \"" << (i % 3 == 0 ? "abba" : "bacaab") << "\"}\n";
  }
  void WriteTokenizer(std::string_view letters) const {
    std::ofstream(source_folder() / "tokenizer.json") << TokenizerOf(letters);
  }
  /// Replaces the weights by others of the same shapes.
  void ReplaceWeights() const {
    TinyLlama other;
    other.seed += 1;
    fs::remove(source_folder() / "model.safetensors");
    other.Write(source_folder());
  }

  fs::path AttemptOf(const std::string& task) const { return work() / task / "1"; }
  StageContext ContextOf(const std::string& task) {
    fs::create_directories(AttemptOf(task) / "out");
    return {assignment_, work(), AttemptOf(task), *communicator_, *link_, at::Device(at::kCPU)};
  }
  /// Runs a stage and, if it succeeds, makes its results an input of later ones, as the coordinator does.
  absl::StatusOr<v1::TaskOutcome> Run(v1::TaskKind kind, const std::string& role, const std::string& task) {
    StageContext context = ContextOf(task);
    auto outcome = FindStage(kind)(context);
    if (!outcome.ok()) return outcome;
    (*assignment_.mutable_inputs())[role] = task + "/1/out";
    (*assignment_.mutable_input_sha256())[role] = *WriteChecksums(context.out());
    if (outcome->has_model()) *assignment_.mutable_model() = outcome->model();
    return outcome;
  }
  absl::Status Inspect(const std::string& task = "inspect") {
    return Run(v1::TASK_KIND_INSPECT, kInspectRole, task).status();
  }
  absl::Status Calibrate(const std::string& task = "calibrate") {
    return Run(v1::TASK_KIND_CALIBRATE, kCalibrateRole, task).status();
  }
  absl::Status Align(const std::string& task = "align") {
    assignment_.mutable_arm()->set_alignment("principal");
    assignment_.set_layers(1);
    return Run(v1::TASK_KIND_ALIGN, AlignRole(0), task).status();
  }
  fs::path StatisticsOf(const std::string& task) const {
    const auto pointer = nlohmann::json::parse(*ReadFile(AttemptOf(task) / "out" / artifacts::kStatisticsPointer));
    return work() / pointer["folder"].get<std::string>();
  }
  static void ExpectChanged(const absl::Status& status, const std::string& what) {
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  }
};

TEST_F(JobSourceTest, AnUntouchedSourceIsCalibratedAndAligned) {
  ASSERT_TRUE(Inspect().ok()) << Inspect();
  const absl::Status calibrated = Calibrate();
  EXPECT_TRUE(calibrated.ok()) << calibrated;
  const absl::Status aligned = Align();
  EXPECT_TRUE(aligned.ok()) << aligned;
}

TEST_F(JobSourceTest, WeightsThatChangeAfterInspectAreNotCalibrated) {
  ASSERT_TRUE(Inspect().ok());
  ReplaceWeights();
  ExpectChanged(Calibrate(), "model.safetensors: tensor");
  EXPECT_FALSE(fs::exists(work() / "statistics"));
}

TEST_F(JobSourceTest, WeightsThatChangeAfterCalibrateAreNotAligned) {
  ASSERT_TRUE(Inspect().ok());
  ASSERT_TRUE(Calibrate().ok());
  ReplaceWeights();
  ExpectChanged(Align(), "model.safetensors: tensor");
}

TEST_F(JobSourceTest, AConfigThatChangesAfterInspectIsNotUsed) {
  ASSERT_TRUE(Inspect().ok());
  std::ofstream(source_folder() / "config.json", std::ios::app) << "\n";
  ExpectChanged(Calibrate(), "config.json changed");
}

TEST_F(JobSourceTest, TextThatChangesAfterInspectIsNotCalibratedOn) {
  ASSERT_TRUE(Inspect().ok());
  WriteText(41);
  ExpectChanged(Calibrate(), "calibration.data: " + text().string() + " changed");
  EXPECT_FALSE(fs::exists(work() / "statistics"));
}

TEST_F(JobSourceTest, TextThatChangesBehindTheLinesThatAreReadIsNoticedToo) {
  ASSERT_TRUE(Inspect().ok());
  // Four windows of 8 tokens take the first few of 40 lines.
  std::ofstream(text(), std::ios::app) << "{\"text\": \"a\"}";
  ExpectChanged(Calibrate(), "changed");
}

TEST_F(JobSourceTest, TextThatChangesBackIsReadAsInspected) {
  ASSERT_TRUE(Inspect().ok());
  WriteText(41);
  WriteText(40);
  const absl::Status calibrated = Calibrate();
  EXPECT_TRUE(calibrated.ok()) << calibrated;
}

TEST_F(JobSourceTest, ATokenizerThatChangesAfterInspectIsNotUsed) {
  ASSERT_TRUE(Inspect().ok());
  WriteTokenizer("bca");
  const StageContext context = ContextOf("calibrate");
  const SourceModel source = OpenSource(context).value();
  const auto used = LoadSourceTokenizer(context, source).value();
  const auto changed = LoadTokenizer(source.folder().path()).value();
  EXPECT_NE(used->Encode("abc").value(), changed->Encode("abc").value());
  WriteTokenizer("abc");
  EXPECT_EQ(used->Encode("abc").value(), LoadTokenizer(source.folder().path()).value()->Encode("abc").value());
}

TEST_F(JobSourceTest, TokensThatExistServeAJobWhoseTextHasGone) {
  ASSERT_TRUE(Inspect().ok());
  ASSERT_TRUE(Calibrate().ok());
  fs::remove(text());
  const absl::Status again = Calibrate("again");
  EXPECT_TRUE(again.ok()) << again;
}

TEST_F(JobSourceTest, StatisticsOfAnotherTokenizerAreOthers) {
  ASSERT_TRUE(Inspect().ok());
  ASSERT_TRUE(Calibrate().ok());
  WriteTokenizer("bca");
  ASSERT_TRUE(Inspect("inspect-2").ok());
  ASSERT_TRUE(Calibrate("calibrate-2").ok());
  EXPECT_NE(StatisticsOf("calibrate"), StatisticsOf("calibrate-2"));
}

TEST_F(JobSourceTest, JobsWithTheSameInputsShareTheStatistics) {
  ASSERT_TRUE(Inspect().ok());
  ASSERT_TRUE(Calibrate().ok());
  const auto written = fs::last_write_time(StatisticsOf("calibrate") / artifacts::LayerStatistics(0));
  ASSERT_TRUE(Calibrate("of-another-job").ok());
  EXPECT_EQ(StatisticsOf("calibrate"), StatisticsOf("of-another-job"));
  EXPECT_EQ(fs::last_write_time(StatisticsOf("calibrate") / artifacts::LayerStatistics(0)), written);
}

TEST_F(JobSourceTest, DamagedStatisticsAreNotAligned) {
  ASSERT_TRUE(Inspect().ok());
  ASSERT_TRUE(Calibrate().ok());
  FlipBit(StatisticsOf("calibrate") / artifacts::LayerStatistics(0), 1000);
  ExpectChanged(Align(), artifacts::LayerStatistics(0) + " is damaged");
}

TEST_F(JobSourceTest, DamagedStatisticsAreMadeAgainByTheNextJob) {
  ASSERT_TRUE(Inspect().ok());
  ASSERT_TRUE(Calibrate().ok());
  const std::string intact = *ReadFile(StatisticsOf("calibrate") / artifacts::LayerStatistics(0));
  FlipBit(StatisticsOf("calibrate") / artifacts::LayerStatistics(0), 1000);
  ASSERT_TRUE(Calibrate("next-job").ok());
  EXPECT_EQ(*ReadFile(StatisticsOf("next-job") / artifacts::LayerStatistics(0)), intact);
}

TEST_F(JobSourceTest, AnInputWithAFlippedBitIsRefusedByName) {
  ASSERT_TRUE(Inspect().ok());
  ASSERT_TRUE(Calibrate().ok());
  ASSERT_TRUE(Align().ok());
  FlipBit(AttemptOf("align") / "out" / artifacts::kAlignment, 700);
  StageContext context = ContextOf("reader");
  ExpectChanged(context.Input(AlignRole(0)).status(), std::string(artifacts::kAlignment) + " is damaged");
}

TEST_F(JobSourceTest, AnInputWithOtherChecksumsIsRefused) {
  ASSERT_TRUE(Inspect().ok());
  std::ofstream(AttemptOf("inspect") / kChecksumFile, std::ios::app) << "\n";
  ExpectChanged(Calibrate(), std::string(kChecksumFile) + " is not the one that its task wrote");
}

TEST_F(JobSourceTest, AnInputWithoutAFileIsRefused) {
  ASSERT_TRUE(Inspect().ok());
  fs::remove(AttemptOf("inspect") / "out" / artifacts::kInspectedSource);
  ExpectChanged(Calibrate(), std::string(artifacts::kInspectedSource) + " is missing");
}

TEST_F(JobSourceTest, AJobThatAnEarlierReleaseInspectedGoesOn) {
  ASSERT_TRUE(Inspect().ok());
  fs::remove(AttemptOf("inspect") / "out" / artifacts::kInspectedSource);
  assignment_.clear_input_sha256();
  const absl::Status calibrated = Calibrate();
  EXPECT_TRUE(calibrated.ok()) << calibrated;
}

}  // namespace
}  // namespace regroup
