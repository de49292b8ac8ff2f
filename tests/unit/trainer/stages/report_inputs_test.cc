#include "trainer/stages/report_inputs.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/trainer/fixtures/slow_transformer.h"
#include "tests/unit/trainer/stages/stage_fixture.h"

namespace regroup {
namespace {

using Json = nlohmann::ordered_json;

class ReportInputsTest : public StageFixture {
 protected:
  void AddEvaluation(const std::string& role, const std::string& subject, int kv_heads, double perplexity) {
    AddInput("" + role, "evaluation.json",
             Json{{"subject", subject},
                  {"kv_heads", kv_heads},
                  {"kv_bytes_per_token", 1000 * kv_heads},
                  {"perplexity", perplexity}}
                 .dump());
  }
  Json Collect() {
    const auto report = CollectReport(Context(), config_);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(Json::object());
  }

  const ModelConfig config_ = SmallConfig(4);
};

TEST_F(ReportInputsTest, HoldsTheFiguresOfEverySubjectThatWasMeasured) {
  *assignment_.add_arms() = assignment_.arm();
  AddAlignments("", config_, 2);
  AddEvaluation("evaluate/source", "source", 4, 10.5);
  AddEvaluation("evaluate/aligned", "aligned", 2, 13.25);
  AddEvaluation("evaluate/result", "result", 2, 11.75);
  const Json report = Collect();
  EXPECT_EQ(report["version"], 1);
  EXPECT_EQ(report["source"]["perplexity"], 10.5);
  EXPECT_EQ(report["source"]["kv_heads"], 4);
  EXPECT_EQ(report["source"]["kv_bytes_per_token"], 4000);
  EXPECT_EQ(report["aligned"]["perplexity"], 13.25);
  EXPECT_EQ(report["result"]["perplexity"], 11.75);
  EXPECT_EQ(report["result"]["kv_heads"], 2);
  EXPECT_FALSE(report.contains("averaged"));
  EXPECT_FALSE(report.contains("rows"));
  EXPECT_FALSE(report["source"].contains("subject"));
}

TEST_F(ReportInputsTest, KnowsTheCacheWithoutAnyEvaluation) {
  *assignment_.add_arms() = assignment_.arm();
  AddAlignments("", config_, 2);
  const Json report = Collect();
  // 2 x 2 layers x heads x 6 entries x 4 bytes.
  EXPECT_EQ(report["source"]["kv_bytes_per_token"], 2 * 2 * 4 * 6 * 4);
  EXPECT_EQ(report["result"]["kv_bytes_per_token"], 2 * 2 * 2 * 6 * 4);
  EXPECT_FALSE(report["source"].contains("perplexity"));
}

TEST_F(ReportInputsTest, DescribesEveryLayer) {
  *assignment_.add_arms() = assignment_.arm();
  AddAlignments("", config_, 2);
  const Json layers = Collect()["layers"];
  ASSERT_EQ(layers.size(), 2u);
  EXPECT_EQ(layers[1]["index"], 1);
  EXPECT_EQ(layers[1]["groups"], (Json{{0, 1}, {2, 3}}));
  for (const char* key : {"similarity_before", "similarity_after", "residual_key", "residual_value"}) {
    EXPECT_TRUE(layers[0][key].is_null()) << key << ": these averages were made without statistics";
  }
}

TEST_F(ReportInputsTest, AddsUpTheSecondsOfTasksOfOneStage) {
  *assignment_.add_arms() = assignment_.arm();
  AddAlignments("", config_, 2);
  for (const auto& [task, seconds] : std::map<std::string, double>{{"align-000", 1.5},
                                                                   {"align-001", 2.0},
                                                                   {"inspect", 0.25},
                                                                   {"evaluate-source", 4.0},
                                                                   {"evaluate-result", 5.0}}) {
    (*assignment_.mutable_task_seconds())[task] = seconds;
  }
  const Json expected = {{{"name", "inspect"}, {"seconds", 0.25}},
                         {{"name", "align"}, {"seconds", 3.5}},
                         {{"name", "evaluate"}, {"seconds", 9.0}}};
  EXPECT_EQ(Collect()["stages"], expected);
}

TEST_F(ReportInputsTest, ASweepHasARowPerArm) {
  assignment_.mutable_spec()->mutable_sweep()->add_kv_heads(2);
  for (const int kv_heads : {2, 1}) {
    v1::Arm& arm = *assignment_.add_arms();
    arm.set_index(assignment_.arms_size() - 1);
    arm.set_kv_heads(kv_heads);
    arm.set_alignment("procrustes");
    arm.set_finetune("direct");
    const std::string prefix = std::to_string(arm.index()) + "/";
    AddAlignments(prefix, config_, kv_heads);
    AddEvaluation(prefix + "evaluate/result", "result", kv_heads, 20.0 / kv_heads);
  }
  const Json report = Collect();
  ASSERT_EQ(report["rows"].size(), 2u);
  EXPECT_EQ(report["rows"][0]["kv_heads"], 2);
  EXPECT_EQ(report["rows"][0]["result"]["perplexity"], 10.0);
  EXPECT_EQ(report["rows"][1]["kv_heads"], 1);
  EXPECT_EQ(report["rows"][1]["result"]["perplexity"], 20.0);
  EXPECT_EQ(report["rows"][1]["alignment"], "procrustes");
  EXPECT_EQ(report["rows"][1]["finetune"], "direct");
  EXPECT_FALSE(report.contains("result"));
}

TEST_F(ReportInputsTest, ARowCountsTheSecondsOfItsOwnTasks) {
  assignment_.mutable_spec()->mutable_sweep()->add_finetune("none");
  for (const char* finetune : {"none", "direct"}) {
    v1::Arm& arm = *assignment_.add_arms();
    arm.set_index(assignment_.arms_size() - 1);
    arm.set_kv_heads(2);
    arm.set_alignment("procrustes");
    arm.set_finetune(finetune);
    AddAlignments(std::to_string(arm.index()) + "/", config_, 2);
  }
  const auto done = [&](const std::string& role, const std::string& task, double seconds) {
    const std::string folder = "jobs/job-1/" + task + "/1/out";
    std::filesystem::create_directories((work() / folder).parent_path());
    if (!std::filesystem::exists(work() / folder)) std::filesystem::rename(MakeInput(role), work() / folder);
    (*assignment_.mutable_inputs())[role] = folder;
    (*assignment_.mutable_task_seconds())[task] = seconds;
  };
  for (const char* arm : {"0/", "1/"}) {
    done(std::string(arm) + "align/0", "align-k2-procrustes-000", 1.5);
    done(std::string(arm) + "align/1", "align-k2-procrustes-001", 2.0);
  }
  done("1/finetune", "finetune-k2-procrustes-direct", 60.0);
  (*assignment_.mutable_task_seconds())["calibrate"] = 7;
  const Json rows = Collect()["rows"];
  EXPECT_EQ(rows[0]["seconds"], (Json{{"align", 3.5}}));
  EXPECT_EQ(rows[1]["seconds"], (Json{{"align", 3.5}, {"finetune", 60.0}}));
}

TEST_F(ReportInputsTest, AnEvaluationThatIsDamagedIsDataLossAndNamesItsFile) {
  *assignment_.add_arms() = assignment_.arm();
  AddAlignments("", config_, 2);
  for (const char* damaged : {"not JSON", "[1]", "{\"multiple_choice\": [1]}"}) {
    AddInput("evaluate/source", "evaluation.json", damaged);
    const auto report = CollectReport(Context(), config_);
    EXPECT_EQ(report.status().code(), absl::StatusCode::kDataLoss) << damaged;
    EXPECT_THAT(std::string(report.status().message()), testing::HasSubstr("evaluate/source")) << damaged;
  }
}

}  // namespace
}  // namespace regroup
