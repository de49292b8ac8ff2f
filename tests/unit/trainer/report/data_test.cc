#include "trainer/report/data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

/// A model of two layers with four KV heads of six float32 entries.
ModelConfig SourceConfig() {
  ModelConfig config;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 4;
  config.head_width = 6;
  return config;
}

Evaluation MakeEvaluation(const std::string& subject, double perplexity, const Json& losses) {
  return {.folder = "/jobs/evaluate-" + subject,
          .figures = {{"subject", subject}, {"perplexity", perplexity}},
          .windows = {{"mean_losses", losses}}};
}

class BuildReportTest : public testing::Test {
 protected:
  BuildReportTest() {
    assignment_.mutable_model()->set_dtype("float32");
    arm_.arm.set_kv_heads(2);
    arm_.arm.set_alignment("procrustes");
    arm_.arm.set_finetune("direct");
    arm_.layers = {LayerReport{.kv_heads = 2,
                               .groups = {{0, 1}, {2, 3}},
                               .value_similarity_before = {{1, 0.2}, {0.2, 1}},
                               .key_similarity_before = {{1, 0.4}, {0.4, 1}}}};
  }

  Json Build(std::vector<ArmReport> arms) {
    const auto report = BuildReport({.assignment = assignment_,
                                     .source_config = config_,
                                     .source = MakeEvaluation("source", 10, {1.0, 2.0, 3.0}),
                                     .arms = std::move(arms),
                                     .device = "cpu",
                                     .device_name = "a CPU",
                                     .regroup_version = "1.2.3",
                                     .libtorch_version = "2.11.0"});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(Json::object());
  }

  const ModelConfig config_ = SourceConfig();
  v1::TaskAssignment assignment_;
  ArmReport arm_;
};

TEST_F(BuildReportTest, ComparesTheResultWithTheSourceWindowByWindow) {
  arm_.evaluations.emplace("result", MakeEvaluation("result", 11, {1.5, 2.5, 3.5}));
  const Json report = Build({arm_});
  EXPECT_EQ(report["result"]["perplexity"], 11);
  // Every window loses 0.5: the ratio is exp(0.5), and its interval has no width.
  for (const char* bound : {"ratio", "low", "high"}) {
    EXPECT_NEAR(report["result"]["perplexity_ratio"][bound].get<double>(), 1.6487212707, 1e-9) << bound;
  }
  EXPECT_EQ(report["source"]["kv_bytes_per_token"], 2 * 2 * 4 * 6 * 4);
  EXPECT_EQ(report["result"]["kv_bytes_per_token"], 2 * 2 * 2 * 6 * 4);
}

TEST_F(BuildReportTest, MakesNoComparisonOfWindowsThatDoNotMatch) {
  arm_.evaluations.emplace("result", MakeEvaluation("result", 11, {1.5, 2.5}));
  EXPECT_FALSE(Build({arm_})["result"].contains("perplexity_ratio"));
}

TEST_F(BuildReportTest, AveragesTheSimilarityOverPairsOfDifferentHeads) {
  const Json layer = Build({arm_})["layers"][0];
  EXPECT_NEAR(layer["overall_similarity_before"].get<double>(), 0.3, 1e-12);
  EXPECT_TRUE(layer["residual_key"].is_number() && layer["similarity_before"].is_number());
  EXPECT_TRUE(layer["overall_similarity_after"].is_null());
  EXPECT_EQ(layer["value_similarity_before"], (Json{{1.0, 0.2}, {0.2, 1.0}}));
  EXPECT_TRUE(layer["key_similarity_after"].is_null());
}

TEST_F(BuildReportTest, HasNoOverallSimilarityOfMatricesThatDoNotMatch) {
  arm_.layers[0].value_similarity_before.pop_back();
  EXPECT_TRUE(Build({arm_})["layers"][0]["overall_similarity_before"].is_null());
}

TEST_F(BuildReportTest, TakesARepeatedStepFromTheLaterAttempt) {
  arm_.curves = {"{\"step\": 1, \"loss\": 4}\n{\"step\": 2, \"loss\": 3}\n{\"step\": 3, \"lo",
                 "{\"step\": 2, \"loss\": 2.5}\n"};
  EXPECT_EQ(Build({arm_})["curves"]["loss"], (Json{{1, 4.0}, {2, 2.5}}));
}

TEST_F(BuildReportTest, SaysHowMuchOfTheTimeWentIntoStepsThatCount) {
  arm_.tasks = {"align-000", "finetune"};
  arm_.curves = {"{\"step\": 1, \"useful_seconds\": 4}\n{\"step\": 2, \"useful_seconds\": 7}\n",
                 "{\"step\": 2, \"useful_seconds\": 6}\n"};
  EXPECT_FALSE(Build({arm_}).contains("training")) << "its time is not known";
  (*assignment_.mutable_elapsed_seconds())["finetune"] = 12;
  EXPECT_EQ(Build({arm_})["training"], (Json{{"useful_seconds", 6.0}, {"elapsed_seconds", 12.0}, {"goodput", 0.5}}));
}

TEST_F(BuildReportTest, SaysWhereTrainingEndedEarly) {
  arm_.tasks = {"finetune"};
  arm_.curves = {"{\"step\": 30, \"useful_seconds\": 6}\n"};
  (*assignment_.mutable_elapsed_seconds())["finetune"] = 12;
  assignment_.mutable_spec()->mutable_finetune()->set_steps(40);
  EXPECT_FALSE(Build({arm_})["training"].contains("ended_early_after_step"));
  assignment_.mutable_spec()->mutable_finetune()->set_stop_when_no_better(2);
  EXPECT_EQ(Build({arm_})["training"]["ended_early_after_step"], 30);
  assignment_.mutable_spec()->mutable_finetune()->set_steps(30);
  EXPECT_FALSE(Build({arm_})["training"].contains("ended_early_after_step"));
}

TEST_F(BuildReportTest, ASweepHasARowPerArmWithTheSecondsOfItsTasks) {
  assignment_.mutable_spec()->mutable_sweep()->add_kv_heads(2);
  assignment_.mutable_spec()->mutable_sweep()->add_kv_heads(1);
  (*assignment_.mutable_task_seconds())["align-k2-000"] = 1.5;
  (*assignment_.mutable_task_seconds())["align-k1-000"] = 2;
  ArmReport other = arm_;
  other.arm.set_kv_heads(1);
  arm_.tasks = {"align-k2-000"};
  other.tasks = {"align-k1-000"};
  const Json rows = Build({arm_, other})["rows"];
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0]["kv_heads"], 2);
  EXPECT_EQ(rows[0]["seconds"], (Json{{"align", 1.5}}));
  EXPECT_EQ(rows[1]["kv_heads"], 1);
  EXPECT_EQ(rows[1]["seconds"], (Json{{"align", 2.0}}));
}

TEST_F(BuildReportTest, HasTheErrorsOfLayersThatWereTrainedAlone) {
  EXPECT_FALSE(Build({arm_})["layers"][0].contains("error_before"));
  arm_.layers[0].training = LayerTraining{.error_before = 0.12, .error_after = 0.04};
  const Json layer = Build({arm_})["layers"][0];
  EXPECT_EQ(layer["error_before"], 0.12);
  EXPECT_EQ(layer["error_after"], 0.04);
  EXPECT_EQ(layer["kept_start"], false);
}

TEST_F(BuildReportTest, ComparesEveryMeasuredModelWithTheSource) {
  for (const char* subject : {"result", "layerwise", "averaged", "aligned"}) {
    arm_.evaluations.emplace(subject, MakeEvaluation(subject, 11, {1.5, 2.5, 3.5}));
  }
  const Json report = Build({arm_});
  std::vector<std::string> measured;
  for (const auto& [key, value] : report.items()) {
    if (value.is_object() && value.contains("perplexity_ratio")) measured.push_back(key);
  }
  EXPECT_THAT(measured, testing::UnorderedElementsAre("averaged", "aligned", "layerwise", "result"));
  EXPECT_NEAR(report["layerwise"]["perplexity_ratio"]["ratio"].get<double>(), 1.6487212707, 1e-9);
}

TEST_F(BuildReportTest, ListsTheTimesOfLayerwiseDistillationBetweenAlignmentAndRefining) {
  for (const char* task : {"refine", "record", "layerwise-000", "layerwise-004", "evaluate-layerwise", "align-000"}) {
    (*assignment_.mutable_task_seconds())[task] = 2;
  }
  EXPECT_EQ(Build({arm_})["stages"], (Json{{{"name", "align"}, {"seconds", 2.0}},
                                           {{"name", "record"}, {"seconds", 2.0}},
                                           {{"name", "layerwise"}, {"seconds", 4.0}},
                                           {{"name", "refine"}, {"seconds", 2.0}},
                                           {{"name", "evaluate"}, {"seconds", 2.0}}}));
}

TEST_F(BuildReportTest, ARowOfASweepSaysWhetherItsLayersWereTrainedAlone) {
  assignment_.mutable_spec()->mutable_sweep()->add_layerwise("none");
  ArmReport distilled = arm_;
  distilled.arm.set_layerwise("distill");
  const Json rows = Build({arm_, distilled})["rows"];
  EXPECT_EQ(rows[0]["layerwise"], "none");
  EXPECT_EQ(rows[1]["layerwise"], "distill");
}

TEST(ParseLayerRecordTest, ReadsWhatTheTrainerWrites) {
  const auto training = ParseLayerRecord(
      {{"layer", 3}, {"error_before", 0.12}, {"error_after", 0.04}, {"steps", 480}, {"kept_start", false}}, 3, "file");
  ASSERT_TRUE(training.ok()) << training.status();
  EXPECT_EQ(training->error_before, 0.12);
  EXPECT_EQ(training->error_after, 0.04);
  EXPECT_FALSE(training->kept_start);
}

TEST(ParseLayerRecordTest, ARecordThatIsDamagedOrOfAnotherLayerIsDataLossOfItsFile) {
  const Json whole = {{"layer", 3}, {"error_before", 0.12}, {"error_after", 0.12}, {"kept_start", true}};
  std::vector<Json> broken = {Json(), Json::array(), Json(5)};
  for (const char* key : {"layer", "error_before", "error_after", "kept_start"}) {
    broken.emplace_back(whole).erase(key);
    broken.emplace_back(whole)[key] = "text";
  }
  broken.emplace_back(whole)["layer"] = 4;
  broken.emplace_back(whole)["error_after"] = -0.5;
  broken.emplace_back(whole)["error_before"] = nullptr;
  ASSERT_TRUE(ParseLayerRecord(whole, 3, "out/layer-003.json").ok());
  for (const Json& record : broken) {
    const absl::Status status = ParseLayerRecord(record, 3, "out/layer-003.json").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << record;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("out/layer-003.json")) << record;
  }
}

TEST_F(BuildReportTest, ScoresThatNoEvaluationWritesAreDataLoss) {
  Evaluation broken = MakeEvaluation("result", 11, {"one", "two", "three"});
  arm_.evaluations.emplace("result", broken);
  const auto report = BuildReport({.assignment = assignment_,
                                   .source_config = config_,
                                   .source = MakeEvaluation("source", 10, {1.0, 2.0, 3.0}),
                                   .arms = {arm_}});
  EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(report.status().message()), testing::HasSubstr("/jobs/evaluate-result"));
}

Json WithPerplexities(const Json& source, const Json& result) {
  return {{"source", {{"perplexity", source}}}, {"result", {{"perplexity", result}}}};
}

TEST(CheckGatesTest, LetsAResultPassUpToTheAllowedRatio) {
  v1::Gates gates;
  gates.set_max_perplexity_ratio(1.5);
  EXPECT_TRUE(CheckGates(gates, WithPerplexities(10.0, 15.0)).ok());
  EXPECT_TRUE(CheckGates(gates, WithPerplexities(10.0, 9.0)).ok());
}

TEST(CheckGatesTest, StopsAWorseResultAndSaysBothRatios) {
  v1::Gates gates;
  gates.set_max_perplexity_ratio(1.5);
  const absl::Status status = CheckGates(gates, WithPerplexities(10.0, 15.2));
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), testing::AllOf(testing::HasSubstr("gates.max_perplexity_ratio"),
                                                            testing::HasSubstr("1.520"), testing::HasSubstr("1.5 ")));
}

TEST(CheckGatesTest, StopsAResultWhosePerplexityIsNotANumber) {
  v1::Gates gates;
  gates.set_max_perplexity_ratio(1.5);
  EXPECT_EQ(CheckGates(gates, WithPerplexities(10.0, nullptr)).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(CheckGates(gates, {{"source", {{"perplexity", 1.0}}}, {"result", Json::object()}}).code(),
            absl::StatusCode::kOutOfRange);
}

TEST(CheckGatesTest, WithoutGatesEverythingPasses) { EXPECT_TRUE(CheckGates({}, WithPerplexities(1.0, 1000.0)).ok()); }

}  // namespace
}  // namespace regroup
