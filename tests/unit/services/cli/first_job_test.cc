#include "services/cli/first_job.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include "services/common/job_file/job_file.h"
#include "services/common/job_file/validate_job_spec.h"

namespace regroup {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;
using testing::IsEmpty;

InspectedModel Model(int heads, int kv_heads, std::vector<int> possible) {
  return {.family = "llama",
          .layers = 4,
          .heads = heads,
          .kv_heads = kv_heads,
          .maximum_positions = 4096,
          .possible_kv_heads = std::move(possible)};
}

v1::JobSpec Job(const InspectedModel& model, const DataChoice& data, const FirstJobChoices& choices) {
  return FirstJob(model, data, choices, "/jobs");
}

DataChoice SomeData() { return {.training = {"/data/train.jsonl"}, .evaluation = {}, .training_bytes = 100'000'000}; }

FirstJobChoices SomeChoices() { return {.checkpoint = "/models/llama", .output = "/jobs/llama-gqa2", .kv_heads = 2}; }

TEST(FirstJobTest, SuggestsAQuarterOfAllHeadsOrHalfOfSharedOnes) {
  EXPECT_EQ(SuggestedKvHeads(Model(32, 32, {32, 16, 8, 4, 2, 1})), 8);
  EXPECT_EQ(SuggestedKvHeads(Model(12, 12, {12, 6, 4, 3, 2, 1})), 3);
  EXPECT_EQ(SuggestedKvHeads(Model(32, 8, {8, 4, 2, 1})), 4);
  EXPECT_EQ(SuggestedKvHeads(Model(9, 3, {3, 1})), 1);
  EXPECT_EQ(SuggestedKvHeads(Model(2, 2, {2, 1})), 1);
}

TEST(FirstJobTest, ReadsTheTrainersAnswerAndRefusesAModelThatCannotShareMore) {
  const auto answer = [](int kv_heads, std::vector<int> possible) {
    return nlohmann::json{{"family", "llama"},
                          {"layers", 2},
                          {"heads", 4},
                          {"kv_heads", kv_heads},
                          {"maximum_positions", 64},
                          {"possible_kv_heads", std::move(possible)}};
  };
  const auto model = InspectedModelOf(answer(4, {4, 2, 1}));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->maximum_positions, 64);
  EXPECT_EQ(InspectedModelOf(answer(1, {1})).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(InspectedModelOf(nlohmann::json::object()).status().message(), HasSubstr("no layers"));
}

TEST(FirstJobTest, SequencesAreNoLongerThanTheModelAndNoMoreThanTheText) {
  InspectedModel model = Model(8, 8, {8, 4, 2, 1});
  EXPECT_EQ(Job(model, SomeData(), SomeChoices()).calibration().sequence_length(), 2048);
  EXPECT_EQ(Job(model, SomeData(), SomeChoices()).calibration().sequences(), 128);
  model.maximum_positions = 256;
  DataChoice little = SomeData();
  little.training_bytes = 10'000;
  const v1::JobSpec job = Job(model, little, SomeChoices());
  EXPECT_EQ(job.finetune().sequence_length(), 256);
  EXPECT_LE(job.calibration().sequences() * 256 * 4, 10'000);
  EXPECT_GE(job.calibration().sequences(), 1);
}

TEST(FirstJobTest, PathsBelowTheJobFilesFolderAreRelative) {
  const v1::JobSpec job = Job(Model(8, 8, {8, 4, 2, 1}), SomeData(), SomeChoices());
  EXPECT_EQ(job.output().checkpoint(), "llama-gqa2");
  EXPECT_EQ(job.source().checkpoint(), "/models/llama");
}

TEST(FirstJobTest, RanksAreAPowerOfTwoThatTheGpusAndTheBatchAllow) {
  const InspectedModel model = Model(8, 8, {8, 4, 2, 1});
  for (const auto& [gpus, ranks] : {std::pair(0, 1), std::pair(1, 1), std::pair(3, 2), std::pair(64, 8)}) {
    FirstJobChoices choices = SomeChoices();
    choices.gpus = gpus;
    EXPECT_EQ(Job(model, SomeData(), choices).finetune().ranks(), ranks) << gpus;
  }
}

TEST(FirstJobTest, TheNameFitsTheRulesOfNames) {
  EXPECT_EQ(FirstJobName("/models/Llama-2_7b.hf", 8), "llama-2-7b-hf-gqa8");
  EXPECT_EQ(FirstJobName("/models/--", 2), "model-gqa2");
  EXPECT_LE(FirstJobName(std::string(200, 'a'), 16).size(), 40U);
}

TEST(FirstJobTest, TheTextReadsBackAsTheJobAndExplainsEveryKeyOfTheFirstLevel) {
  DataChoice data = SomeData();
  data.training = {"/jobs/a: b.jsonl", "/jobs/\"c\".jsonl"};
  data.evaluation = {"/jobs/valid.jsonl"};
  const InspectedModel model = Model(8, 8, {8, 4, 2, 1});
  const std::string text = FirstJobText(model, Job(model, data, SomeChoices()));
  const auto file = ParseJobFileWithPositions(text, "/jobs/job.yaml");
  ASSERT_TRUE(file.ok()) << file.status() << text;
  EXPECT_THAT(ValidateJobSpec(file->spec), IsEmpty());
  data.training = {"/jobs/a: b.jsonl", "/jobs/\"c\".jsonl"};
  const v1::JobSpec absolute = FirstJob(model, data, SomeChoices(), "/elsewhere");
  EXPECT_TRUE(MessageDifferencer::Equals(file->spec, absolute)) << file->spec.DebugString() << absolute.DebugString();
  std::string before;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line); before = line) {
    const bool is_key = !line.empty() && line[0] != ' ' && line[0] != '#';
    if (is_key) EXPECT_TRUE(before.starts_with("# ")) << line;
  }
}

TEST(FirstJobTest, WithoutAnEvaluationTheTextShowsHowToNameOne) {
  const InspectedModel model = Model(8, 8, {8, 4, 2, 1});
  const v1::JobSpec job = Job(model, SomeData(), SomeChoices());
  EXPECT_FALSE(job.has_evaluation());
  EXPECT_THAT(FirstJobText(model, job), HasSubstr("# evaluation:\n#   perplexity:\n#     data: valid.jsonl\n"));
}

}  // namespace
}  // namespace regroup
